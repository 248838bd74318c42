"""Outcome of a night, in the sentences that its page, the command and the registry share."""

from collections.abc import Sequence
from typing import assert_never

from loop.types import Decision, Night, NightStatus, Promotion, Verdict, Without

NOT_PROMOTED = "not promoted"
"""Words for a PROMOTE that does not serve, and the beginning of the reason that its promote stage gives."""
LAST_WORD = "a person has the last word (`promote` under [gate] is false)"


def promoted(night: Night, rows: Sequence[Promotion] = ()) -> bool:
    """Whether the night's candidate became champion: by the night, or by a person as the ledger's `rows` say."""
    return night.outputs.promoted or _by_hand(night, rows) is not None


def waits(night: Night, rows: Sequence[Promotion] = ()) -> bool:
    """Whether the gate said PROMOTE and the promotion is left to a person, who has not made it yet."""
    decided = night.verdict is Verdict.PROMOTE and night.outputs.entry_hash is Without.PROMOTION
    return decided and not promoted(night, rows) and _overtaken(night) is None


def promote_command(night: Night) -> str:
    """Command by which a person promotes the night's candidate on its decision."""
    return f"nightshift promote {night.outputs.version} --decision {night.outputs.decision_id}"


def outcome(night: Night, rows: Sequence[Promotion] = ()) -> str:
    """The outcome in a few words, for a table: the verdict or the status; a PROMOTE that does not serve says so."""
    if night.verdict is Verdict.PROMOTE:
        by_hand = _by_hand(night, rows)
        if by_hand is not None:
            return f"{night.verdict}, promoted by {by_hand.actor}"
        return str(night.verdict) if promoted(night) else f"{night.verdict}, {NOT_PROMOTED}"
    return str(night.verdict or night.status.upper())


def headline(night: Night, rows: Sequence[Promotion] = ()) -> str:
    """One line: the night, its outcome, why it was not promoted if so, and who serves after it."""
    named = f"{night.night_id}: {outcome(night, rows)}"
    if night.verdict is Verdict.PROMOTE and not promoted(night, rows):
        named = f"{named}: {why_not_promoted(night)}"
    return " ".join(filter(None, [f"{named}.", _meaning(night), _serving(night, rows)]))


def why(night: Night, decision: Decision | None) -> str:
    """The decisive reason as one sentence; empty where a night has none yet."""
    found = reasons(night, decision)
    # A suite that was left out decides nothing, although its reason may stand first.
    return next((reason for reason in found if ": left out, " not in reason), found[0] if found else "")


def reasons(night: Night, decision: Decision | None) -> tuple[str, ...]:
    """All reasons of the night and its decision, the decisive one first."""
    decided = decision.reasons if decision else ()
    return decided + night.reasons


def next_step(night: Night, rows: Sequence[Promotion] = ()) -> str:
    """Next step for a person, as a command where there is one."""
    match night.status:
        case NightStatus.RUNNING:
            return '`nightshift run` finishes it, `nightshift run --abandon "REASON"` gives it up'
        case NightStatus.FAILED:
            return "mend what the reason names, then `nightshift run` begins a new night with all feedback"
        case NightStatus.SKIPPED:
            return "nothing is lost, the next `nightshift run` looks at all feedback again"
        case NightStatus.DONE:
            return _after(night, rows)
        case _:  # here as below: a new member without a sentence fails the type check
            assert_never(night.status)


def why_not_promoted(night: Night) -> str:
    """Reason why a candidate with the verdict PROMOTE does not serve."""
    if night.outputs.entry_hash is None:
        return "the night has not come to it"
    return _overtaken(night) or LAST_WORD


def version_name(version: int) -> str:
    """Name of a version for people."""
    return f"version {version}" if version else "the base model"


def _by_hand(night: Night, rows: Sequence[Promotion]) -> Promotion | None:
    """The row of a person's promotion on this night's decision, where the night itself did not promote."""
    decision_id = night.outputs.decision_id
    if night.outputs.promoted or decision_id is None:
        return None
    return next((row for row in rows if row.decision_id == decision_id), None)


def _moved_meanwhile(night: Night, rows: Sequence[Promotion]) -> Promotion | None:
    """The last row in which somebody moved the champion between the night's beginning and its end."""
    for row in reversed(rows):
        before_the_end = night.finished_at is None or row.recorded_at <= night.finished_at
        if row.moves_champion and night.started_at <= row.recorded_at and before_the_end:
            return row
    return None


def _overtaken(night: Night) -> str | None:
    """Reason of a night whose promotion failed because somebody else moved the champion first."""
    begins = f"{NOT_PROMOTED}: "
    return next((reason.removeprefix(begins) for reason in night.reasons if reason.startswith(begins)), None)


def _meaning(night: Night) -> str:
    """Meaning of the outcome in a sentence; empty for a PROMOTE."""
    match night.verdict:
        case Verdict.REJECT:
            return "The candidate is not good enough."
        case Verdict.UNDERPOWERED:
            return "Too few users to tell."
        case Verdict.HOLD:
            return "The evidence has gaps, a person has to look."
        case Verdict.PROMOTE:
            return ""
        case None:
            return {
                NightStatus.RUNNING: f"It is not finished: {_reached(night)}.",
                NightStatus.SKIPPED: "No candidate was judged.",
                NightStatus.FAILED: "No candidate was judged.",
                NightStatus.DONE: "",
            }[night.status]
        case _:
            assert_never(night.verdict)


def _reached(night: Night) -> str:
    finished = list(night.outputs.by_stage())
    return f"{finished[-1]} was its last stage" if finished else "it has just begun"


def _serving(night: Night, rows: Sequence[Promotion]) -> str:
    before = version_name(night.champion_version)
    by_hand = _by_hand(night, rows)
    if by_hand is not None:
        serves, before = version_name(by_hand.to_version), version_name(by_hand.from_version)
        return f"{by_hand.actor} let {serves} serve instead of {before}."
    if promoted(night):
        return f"Version {night.outputs.version} serves instead of {before}."
    if night.verdict is Verdict.PROMOTE and not waits(night):
        return ""  # somebody else moved the champion: the reason says who serves
    if moved := _moved_meanwhile(night, rows):
        return f"{moved.actor} let {version_name(moved.to_version)} serve instead of {before} while the night ran."
    return f"{before[0].upper()}{before[1:]} goes on serving."


def _after(night: Night, rows: Sequence[Promotion]) -> str:
    """Next step after a night that has ended."""
    ask = f'`nightshift ask --version {night.outputs.version} "..."` asks it'
    match night.verdict:
        case Verdict.PROMOTE if promoted(night, rows):
            by_hand = _by_hand(night, rows)
            before = version_name(by_hand.from_version if by_hand else night.champion_version)
            return f'{ask}, `nightshift rollback --reason "..."` brings {before} back'
        case Verdict.PROMOTE if waits(night, rows):
            return f"{ask}, `{promote_command(night)}` lets it serve"
        case Verdict.PROMOTE | None:
            return "`nightshift run` begins the next night, from the champion that serves now"
        case Verdict.REJECT:
            return f"nothing has to be done, the next night trains a new candidate; {ask}"
        case Verdict.UNDERPOWERED:
            return f"nothing has to be done, the next nights have more feedback to judge by; {ask}"
        case Verdict.HOLD:
            again = f"`nightshift evaluate {night.outputs.candidate_id}` takes the scores again"
            return f"{again}, `nightshift decide` judges them"
        case _:
            assert_never(night.verdict)
