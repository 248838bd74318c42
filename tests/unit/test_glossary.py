"""One glossary: complete where a night speaks to a person, the same on the page, in the README and in the command."""

from pathlib import Path

import pytest

from loop.counts import Count, counted
from loop.report.counts import MEANINGS, explained
from loop.report.glossary import GLOSSARY, fragment, markdown, pattern, plain, term_of
from loop.report.page import Sentences, Table, page
from loop.types import SuiteRole, Verdict
from tests.feedback import ask, made, tell

ROOT = Path(__file__).parents[2]


def shown(*lines: str) -> str:
    return page("desk", badge="DONE", tone="plain", lead="", blocks=[Sentences("Why", lines)])


def test_the_readme_of_the_loop_has_the_glossary_as_it_is() -> None:
    assert markdown() in (ROOT / "loop" / "README.md").read_text()


def test_terms_stand_in_alphabetical_order_and_each_is_one_sentence() -> None:
    assert list(GLOSSARY) == sorted(GLOSSARY, key=str.lower)
    for term, meaning in GLOSSARY.items():
        assert meaning.endswith("."), term
        assert ". " not in meaning, term


@pytest.mark.parametrize("term", ["format", "vault", "anchor", "guard", "detectable", "draft", *Verdict])
def test_words_that_readers_asked_for_are_explained(term: str) -> None:
    assert GLOSSARY[term]


def test_a_word_is_linked_where_it_first_occurs_and_explained_at_the_foot() -> None:
    text = shown("the vault and the vault", "another vault")

    assert text.count('<a class="term" href="#term-vault">vault</a>') == 1
    assert f'<dt id="{fragment("vault")}">vault</dt>' in text


def test_a_plural_and_a_capital_find_their_term_and_a_longer_word_does_not() -> None:
    assert [term_of(found) for found in pattern().findall("Guards, two users")] == ["guard", "user"]
    assert pattern().findall("nightshift night-0001 promote rejected") == []


def test_a_common_word_is_a_suite_only_where_a_line_begins_with_its_name() -> None:
    assert 'href="#term-answers"' in shown("answers: not better")
    assert 'href="#term-answers"' not in shown("preferred answers became less likely")


def test_a_command_has_no_link_inside() -> None:
    assert "<code>nightshift rollback --reason x</code>" in shown("then `nightshift rollback --reason x`")


def test_what_users_wrote_is_not_linked() -> None:
    text = page("desk", badge="", tone="plain", lead="", blocks=[Table("t", ["x"], [["my vault"]], wide=True)])

    assert "my vault" in text
    assert 'href="#term-vault"' not in text


def test_the_command_can_print_one_entry_or_all() -> None:
    assert plain("Guards") == f"guard: {GLOSSARY['guard']}"
    assert len(plain().splitlines()) == len(GLOSSARY)
    with pytest.raises(KeyError):
        plain("unheard-of")


def test_every_role_of_a_suite_is_explained() -> None:
    assert {SuiteRole.SUPERIORITY, SuiteRole.GUARD} <= set(GLOSSARY)


def test_every_count_is_explained_and_taken_somewhere() -> None:
    curation = "".join(path.read_text() for path in (ROOT / "loop" / "curation").glob("*.py"))

    assert set(MEANINGS) == set(Count)
    assert [name for name in Count if f"Count.{name.name}" not in curation] == []


def test_a_count_of_nothing_is_0_and_a_report_keeps_plain_names() -> None:
    report = made([ask("a"), tell("a", value=1.0)]).report

    assert (counted(report, Count.FEEDBACK), counted(report, Count.TIED)) == (1, 0)
    assert {type(name) for name in report} == {str}


def test_counts_stand_in_the_order_of_curation_and_a_day_of_quarantine_is_named() -> None:
    rows = list(explained({"examples": 3, "quarantined/2026-01-02": 2, "feedback": 9, "unheard_of": 1}))

    assert [row[0] for row in rows] == ["feedback", "quarantined/2026-01-02", "examples", "unheard_of"]
    assert rows[1] == ("quarantined/2026-01-02", 2, "in quarantine, of accounts first seen on 2026-01-02")
