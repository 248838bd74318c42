import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loop.curation import snapshot
from loop.curation.examples import content
from loop.errors import IntegrityError, NotFoundError
from loop.hashing import digest
from loop.settings import CurationSettings, Settings, restored
from loop.types import (
    Branch,
    Example,
    FeedbackKind,
    Message,
    Objective,
    Split,
    ToolCall,
    Verifier,
    VerifierKind,
)
from tests.homes import NAMES, unpack

AS_OF = datetime(2026, 1, 10, tzinfo=UTC)
DEFAULTS = CurationSettings()
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MESSAGES = st.builds(
    Message,
    st.sampled_from(["system", "user", "assistant", "tool"]),
    TEXTS,
    st.lists(st.builds(ToolCall, call_id=TEXTS, name=TEXTS, arguments=TEXTS), max_size=2).map(tuple),
    st.none() | TEXTS,
)
EXAMPLES = st.builds(
    Example,
    example_id=TEXTS,
    objective=st.sampled_from(Objective),
    signal=st.sampled_from(FeedbackKind),
    prompt=st.lists(MESSAGES, max_size=3).map(tuple),
    branches=st.lists(st.builds(Branch, MESSAGES, st.floats(-1, 1)), max_size=2).map(tuple),
    split=st.sampled_from(Split),
    cluster=TEXTS,
    tenant=TEXTS,
    conversation_id=TEXTS,
    observed_at=st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    event_ids=st.lists(TEXTS, max_size=3).map(tuple),
    verifiers=st.lists(st.builds(Verifier, st.sampled_from(VerifierKind), TEXTS), max_size=2).map(tuple),
)


def example(name: str, split: Split = Split.TRAIN) -> Example:
    made = Example(
        example_id="",
        objective=Objective.UNPAIRED,
        signal=FeedbackKind.THUMB,
        prompt=(Message("user", f"Question {name}"),),
        branches=(Branch(Message("assistant", f"Answer {name}")),),
        split=split,
        cluster=f"user {name}",
        tenant="default",
        conversation_id=f"c {name}",
        observed_at=AS_OF - timedelta(days=1),
        event_ids=(f"f {name}", f"i {name}"),
    )
    return replace(made, example_id=digest(content(made)))


@given(st.lists(EXAMPLES, max_size=5))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_example_is_read_as_it_was_written(tmp_path: Path, examples: list[Example]) -> None:
    written = snapshot.write(examples, {}, DEFAULTS, AS_OF, tmp_path)
    read = [found for split in Split for found in snapshot.read(tmp_path, written.snapshot_id, split)]

    assert sorted(read, key=repr) == sorted(examples, key=repr)


def test_the_id_is_that_of_the_content_whenever_and_in_whatever_order(tmp_path: Path) -> None:
    both = [example("a"), example("b", Split.VAULT)]
    first = snapshot.write(both, {"feedback": 2}, DEFAULTS, AS_OF, tmp_path)
    again = snapshot.write(both[::-1], {"feedback": 2}, DEFAULTS, AS_OF + timedelta(days=1), tmp_path)

    assert first.snapshot_id == again.snapshot_id
    assert first.counts == {"train/unpaired": 1, "vault/unpaired": 1}
    assert first.curation == {"feedback": 2}


def test_ids_are_those_that_earlier_code_gave_to_the_same_content(tmp_path: Path) -> None:
    written = snapshot.write([example("a"), example("b", Split.VAULT)], {}, DEFAULTS, AS_OF, tmp_path)

    assert example("a").example_id == "5983adfd855421a940546461df161f3fe9b855d61e78704918575d0ffacfe995"
    assert written.snapshot_id == "88fab7a8f25208672be341c6485be6810bc209acb416f1cc219d1acbe0527488"


@pytest.mark.parametrize("name", NAMES)
def test_a_snapshot_of_an_older_home_is_read_and_written_again_under_its_id(name: str, tmp_path: Path) -> None:
    home = unpack(name, tmp_path / "old") / ".nightshift"
    for folder in (home / "snapshots").iterdir():
        manifest = json.loads((folder / "manifest.json").read_text())
        read = [found for split in Split for found in snapshot.read(home, folder.name, split)]
        curated_by = restored({"curation": manifest["settings"]}, Settings()).curation
        again = snapshot.write(read, {}, curated_by, AS_OF, tmp_path)

        assert {tuple(branch.score for branch in each.branches) for each in read} == {(1.0, -1.0)}
        assert again.snapshot_id == folder.name
        assert read == [found for split in Split for found in snapshot.read(tmp_path, folder.name, split)]


@pytest.mark.parametrize(
    ("examples", "settings_"),
    [
        ([example("a")], replace(DEFAULTS, scrub=False)),
        ([example("b")], DEFAULTS),
        ([replace(example("a"), branches=(Branch(Message("assistant", "x")),))], DEFAULTS),
        ([replace(example("a"), branches=(Branch(Message("assistant", "Answer a"), -1.0),))], DEFAULTS),
    ],
    ids=["other settings", "another example", "another answer under the same example id", "another sign"],
)
def test_other_content_has_another_id(tmp_path: Path, examples: list[Example], settings_: CurationSettings) -> None:
    first = snapshot.write([example("a")], {}, DEFAULTS, AS_OF, tmp_path)

    assert snapshot.write(examples, {}, settings_, AS_OF, tmp_path).snapshot_id != first.snapshot_id


def test_writing_again_leaves_every_byte_alone(tmp_path: Path) -> None:
    written = snapshot.write([example("a")], {}, DEFAULTS, AS_OF, tmp_path)
    folder = tmp_path / "snapshots" / written.snapshot_id
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}
    snapshot.write([example("a")], {}, DEFAULTS, AS_OF + timedelta(days=1), tmp_path)

    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()} == before
    assert set(before) == {"manifest.json", "train.parquet", "dev.parquet", "vault.parquet"}
    assert [path.name for path in folder.parent.iterdir()] == [written.snapshot_id]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    broken = replace(example("a"), tenant="\ud800")
    with pytest.raises(UnicodeEncodeError):
        snapshot.write([broken], {}, DEFAULTS, AS_OF, tmp_path)

    assert list((tmp_path / "snapshots").iterdir()) == []


def test_a_changed_table_is_refused(tmp_path: Path) -> None:
    written = snapshot.write([example("a")], {}, DEFAULTS, AS_OF, tmp_path)
    table = tmp_path / "snapshots" / written.snapshot_id / "train.parquet"
    table.write_bytes(table.read_bytes()[:-1] + b"x")

    with pytest.raises(IntegrityError, match=r"train\.parquet"):
        snapshot.read(tmp_path, written.snapshot_id, Split.TRAIN)
    assert snapshot.read(tmp_path, written.snapshot_id, Split.VAULT) == ()
    with pytest.raises(IntegrityError, match=r"train\.parquet"):
        snapshot.verify(tmp_path, written.snapshot_id)


def test_an_unknown_id_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        snapshot.read(tmp_path, "0" * 64, Split.TRAIN)


def test_lineage_leads_from_every_event_to_its_examples(tmp_path: Path) -> None:
    one, other = example("a"), replace(example("b", Split.DEV), event_ids=("f b", "i a"))
    written = snapshot.write([one, other], {}, DEFAULTS, AS_OF, tmp_path)
    found = snapshot.lineage(tmp_path, written.snapshot_id)

    assert set(found) == {"f a", "i a", "f b"}
    assert set(found["i a"]) == {one.example_id, other.example_id}
    assert found["f b"] == (other.example_id,)


def test_the_manifest_tells_a_person_what_it_is(tmp_path: Path) -> None:
    written = snapshot.write([example("a")], {"feedback": 1}, DEFAULTS, AS_OF, tmp_path)
    manifest = json.loads((tmp_path / "snapshots" / written.snapshot_id / "manifest.json").read_text())

    assert manifest["snapshot_id"] == written.snapshot_id
    assert manifest["as_of"] == "2026-01-10T00:00:00+00:00"
    assert manifest["counts"] == {"train/unpaired": 1}
    assert manifest["settings"]["vault_share"] == DEFAULTS.vault_share
    assert set(manifest["files"]) == {"train.parquet", "dev.parquet", "vault.parquet"}
