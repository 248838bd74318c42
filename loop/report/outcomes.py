"""Outcome of a night, in the sentences that its page, the command and the registry share."""

from collections.abc import Sequence
from typing import assert_never

from loop.actions import moves_champion
from loop.types import Decision, Night, NightStatus, Promotion, Stage, Verdict

NOT_PROMOTED = "not promoted"
"""Output of a promote stage that promoted nothing, and the beginning of its reason."""
LAST_WORD = "a person has the last word (`promote` under [gate] is false)"


def promoted(night: Night, rows: Sequence[Promotion] = ()) -> bool:
    """Whether the night's candidate became champion: by the night, or by a person as the ledger's `rows` say."""
    by_night = night.outputs.get(Stage.PROMOTE, NOT_PROMOTED) != NOT_PROMOTED
    return by_night or _by_hand(night, rows) is not None


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
        named = f"{named}: {_why_not_promoted(night)}"
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


def version_name(version: int) -> str:
    """Name of a version for people."""
    return f"version {version}" if version else "the base model"


def _by_hand(night: Night, rows: Sequence[Promotion]) -> Promotion | None:
    """The row of a person's promotion on this night's decision, where the night itself did not promote."""
    # The night's own row is on the same decision: only its hash tells it from a person's.
    decision_id, entry_hash = night.outputs.get(Stage.DECIDE), night.outputs.get(Stage.PROMOTE)
    later = (row for row in rows if decision_id and row.decision_id == decision_id and row.entry_hash != entry_hash)
    return next(later, None) if entry_hash in {None, NOT_PROMOTED} else None


def _moved_meanwhile(night: Night, rows: Sequence[Promotion]) -> Promotion | None:
    """The last row in which somebody moved the champion between the night's beginning and its end."""
    for row in reversed(rows):
        before_the_end = night.finished_at is None or row.recorded_at <= night.finished_at
        if moves_champion(row.action) and night.started_at <= row.recorded_at and before_the_end:
            return row
    return None


def _why_not_promoted(night: Night) -> str:
    if Stage.PROMOTE not in night.outputs:
        return "the night has not come to it"
    begins = f"{NOT_PROMOTED}: "
    said = (reason.removeprefix(begins) for reason in night.reasons if reason.startswith(begins))
    return next(said, LAST_WORD)


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
    return f"{list(night.outputs)[-1]} was its last stage" if night.outputs else "it has just begun"


def _serving(night: Night, rows: Sequence[Promotion]) -> str:
    before = version_name(night.champion_version)
    by_hand = _by_hand(night, rows)
    if by_hand is not None:
        serves, before = version_name(by_hand.to_version), version_name(by_hand.from_version)
        return f"{by_hand.actor} let {serves} serve instead of {before}."
    if promoted(night):
        return f"Version {night.outputs[Stage.REGISTER]} serves instead of {before}."
    if night.verdict is Verdict.PROMOTE and _why_not_promoted(night) != LAST_WORD:
        return ""  # somebody else moved the champion: the reason says who serves
    if moved := _moved_meanwhile(night, rows):
        return f"{moved.actor} let {version_name(moved.to_version)} serve instead of {before} while the night ran."
    return f"{before[0].upper()}{before[1:]} goes on serving."


def _after(night: Night, rows: Sequence[Promotion]) -> str:
    """Next step after a night that came to its end."""
    version, decision_id = night.outputs.get(Stage.REGISTER, ""), night.outputs.get(Stage.DECIDE, "")
    ask = f'`nightshift ask --version {version} "..."` asks it'
    match night.verdict:
        case Verdict.PROMOTE if promoted(night, rows):
            by_hand = _by_hand(night, rows)
            before = version_name(by_hand.from_version if by_hand else night.champion_version)
            return f'{ask}, `nightshift rollback --reason "..."` brings {before} back'
        case Verdict.PROMOTE if _why_not_promoted(night) == LAST_WORD:
            return f"{ask}, `nightshift promote {version} --decision {decision_id}` lets it serve"
        case Verdict.PROMOTE | None:
            return "`nightshift run` begins the next night, from the champion that serves now"
        case Verdict.REJECT:
            return f"nothing has to be done, the next night trains a new candidate; {ask}"
        case Verdict.UNDERPOWERED:
            return f"nothing has to be done, the next nights have more feedback to judge by; {ask}"
        case Verdict.HOLD:
            candidate_id = night.outputs.get(Stage.TRAIN, "")
            return f"`nightshift evaluate {candidate_id}` takes the scores again, `nightshift decide` judges them"
        case _:
            assert_never(night.verdict)
