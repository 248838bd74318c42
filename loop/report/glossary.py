"""Glossary of the words that a night uses, a sentence each: for its page, the command and loop/README.md."""

import re
from collections.abc import Mapping

GLOSSARY: Mapping[str, str] = {
    "adapter": "The small set of trained weights (LoRA) that a version puts on top of the base model.",
    "alarm": "A sign in a training's own figures that it went wrong, with what to do about it.",
    "anchor": (
        "The champion that a person last approved of by `nightshift approve`; candidates must not fall behind it, "
        "so that many small losses do not add up."
    ),
    "answers": (
        "The superiority suite: fresh answers to prompts of held-out users, scored by how close they come to what "
        "those users wrote, chose or approved, or by the application's own check."
    ),
    "approved": (
        "A guard: fresh answers to prompts whose answer a held-out user approved, scored by how close they stay "
        "to that answer."
    ),
    "base model": (
        "The model as it was downloaded, without an adapter; it serves as version 0 until a night promotes one."
    ),
    "branch": "One answer below the prompt of an example, with a signed score; an example has one, two or more.",
    "candidate": "The adapter that a night trained and that has yet to be judged.",
    "champion": "The version that serves.",
    "curation": "The stage that makes examples of feedback and counts by reason what it leaves out.",
    "dead letter": "An event that could not be parsed, kept whole with the reason.",
    "decision": "The gate's verdict on a candidate (PROMOTE, REJECT, UNDERPOWERED or HOLD) with its reasons.",
    "detectable": (
        "The smallest true difference that a test with this many users finds four times in five; a smaller one is "
        "likely to be missed."
    ),
    "dev": "The split whose users neither train nor judge; suites that are only read may use them.",
    "draft": (
        "An example in the making: one user's opinion in the shape of an example, before repeats, caps and bounds."
    ),
    "evidence": "All scores of candidate, champion and anchor on the held-out prompts of a night.",
    "example": "What training and suites take from feedback: a prompt with answers that are better or worse.",
    "feedback": (
        "What a user or the world said of an answer: thumb, rating, edit, regenerate, comparison, comment, "
        "outcome, demonstration or implicit signal."
    ),
    "format": (
        "A guard: fresh answers to prompts with a check of the application's own (JSON Schema, pattern, length, "
        "right answer), scored by those checks."
    ),
    "gate": "The rules by which evidence becomes a decision; all its tests have to pass for a PROMOTE.",
    "guard": "A suite on which a candidate must not be worse than the champion by more than `margin`.",
    "held-out user": "A user of the vault or dev split: nothing they say is ever trained on.",
    "HOLD": "The evidence has gaps or contradicts itself, so nothing is judged until a person has looked.",
    "implicit_reward": (
        "A suite to read: how often training made the held-out users' chosen answer likelier than their rejected "
        "one, against the champion."
    ),
    "interaction": "One request with the answer that was served.",
    "interval": "The range in which the true difference lies with 95 % confidence, given how much users differ.",
    "item": "One held-out prompt of a suite, answered anew by each model.",
    "KL": (
        "How far the candidate's words are from the champion's, in nats a token: 0.001 is hardly any, 0.5 another "
        "voice."
    ),
    "ledger": (
        "The append-only list of promotions, rollbacks and approvals, each row sealed by a hash; it says who serves."
    ),
    "maturity": (
        "How old an interaction has to be before its feedback counts (`maturity_hours`), so that late feedback is "
        "seen; what is younger waits for a later night."
    ),
    "night": "One run of the loop from new events to a decision.",
    "p": (
        "How often chance alone would make a gain as large as the one found, if candidate and champion were "
        "equally good."
    ),
    "pair": "An example with a better and a worse answer to one prompt.",
    "point": "A hundredth of the scale of scores: 0 points is always wrong, 100 points always right.",
    "preference": (
        "A suite to read: how often a model finds the held-out users' chosen answer likelier than their rejected one."
    ),
    "PROMOTE": "Every test passed: the candidate becomes champion, or waits for a person where `promote` is false.",
    "promotion": "The move that makes a version the champion, recorded in the ledger.",
    "quarantine": (
        "Where feedback of accounts waits that were born in a sudden burst, until a person raises `burst_factor` "
        "or later days look usual; it is never deleted."
    ),
    "ranking": "An example with three or more answers to one prompt, from the best to the worst.",
    "REJECT": (
        "A test failed, and its interval holds nothing that would pass: the candidate is not better, or worse on "
        "a guard or than the anchor."
    ),
    "reward margin": (
        "How much further training moved the better answers of pairs up than the worse ones; of a ranking, the best "
        "answer than the worst."
    ),
    "rollback": "The move back to the champion before, recorded in the ledger.",
    "score": (
        "How good one answer is, from 0 to 1; of a branch, from -1 to 1: its sign says better or worse, its size how "
        "much it counts."
    ),
    "SKIPPED": (
        "The night ended before it judged a candidate, because the data failed its expectations or held nothing new."
    ),
    "snapshot": "The examples of one night as an unchangeable data set named by its content.",
    "split": "Whether a user's feedback trains (train), judges (vault) or neither (dev); users stay in it for ever.",
    "suite": "A set of held-out prompts with one way to score answers; its role is superiority, guard or report.",
    "superiority": "The role of a suite on which the candidate has to be better than the champion.",
    "UNDERPOWERED": "A test failed, but its interval holds effects that would pass: these users cannot tell, more may.",
    "user": (
        "Who is counted once, however much they ask: a signed-in user, or the conversation of an anonymous one "
        "(`cluster` in the data)."
    ),
    "vault": "The split whose users judge candidates and are never trained on.",
    "verifier": (
        "A check that the application sends along with a request: exact text, number, pattern, JSON Schema or "
        "number of words."
    ),
    "version": "An adapter in the registry, by its number; 0 is the base model.",
}
"""Meaning of each word, in alphabetical order without regard to case."""

NAMES = frozenset({"answers", "approved", "format", "preference", "implicit_reward", "p"})
"""Names of suites and figures, most of which are common words, too."""

BEGIN, END = "<!-- glossary -->", "<!-- /glossary -->"
"""Marks in loop/README.md around the glossary."""


def fragment(term: str) -> str:
    """URL fragment of the entry of `term`."""
    return f"term-{term.lower().replace(' ', '-')}"


def markdown() -> str:
    """The glossary as it stands in loop/README.md, its marks included."""
    entries = [f"- **{term}**: {meaning}" for term, meaning in GLOSSARY.items()]
    return "\n".join([BEGIN, *entries, END])


def pattern() -> re.Pattern[str]:
    """Pattern of the terms in running text, in singular and plural.

    Verdicts are found in capitals only. A name that is a common word, too, is found only at the beginning of a line:
    alone, or before a colon, a bracket or "against".
    """
    # Longest first, because an alternative that matches ends the search: "held-out user" goes before "user".
    names = sorted(GLOSSARY.keys() - NAMES, key=len, reverse=True)
    words = "|".join(re.escape(n) if n.isupper() else f"[{n[0].upper()}{n[0]}]{re.escape(n[1:])}s?" for n in names)
    names_only = "|".join(sorted(NAMES))
    # What stands before and after keeps out commands, settings, paths and parts of longer words.
    return re.compile(rf"(?<![\w`/.-])(?:{words})(?![\w`/-])|^(?:{names_only})(?=:|$| \(| against)", re.MULTILINE)


def term_of(found: str) -> str:
    """The glossary's spelling of a word that `pattern` found. Raises KeyError for any other."""
    # As it stands first: verdicts are in capitals, and "answers" is a term of its own, not a plural.
    for name in (found, found.lower(), found.lower().removesuffix("s")):
        if name in GLOSSARY:
            return name
    raise KeyError(found)


def plain(term: str = "") -> str:
    """One entry, or all of them, for a terminal. Raises KeyError for a word that is not explained."""
    chosen = {term_of(term): GLOSSARY[term_of(term)]} if term else GLOSSARY
    return "\n".join(f"{name}: {meaning}" for name, meaning in chosen.items())
