"""Contents of a night's page, in the order of a reviewer's questions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from evals.standings import Standing, standings
from evals.wording import effect, none, p_value, passed, points
from loop.alarms import alarms
from loop.report import plots
from loop.report.answers import answer_cards
from loop.report.counts import explained
from loop.report.outcomes import headline, next_step, outcome, promoted, reasons, version_name, why
from loop.report.page import Block, Facts, Figure, Sentences, Table, Tone, page
from loop.report.size import others, size
from loop.types import (
    Candidate,
    Decision,
    Evidence,
    Night,
    NightStatus,
    Promotion,
    Snapshot,
    Stage,
    TestResult,
    Verdict,
)

CURVES = ("loss", "reward_margin", "accuracy", "kl")
TONES: Mapping[Verdict | None, Tone] = {
    Verdict.PROMOTE: "good",
    Verdict.REJECT: "bad",
    Verdict.HOLD: "unsure",
    Verdict.UNDERPOWERED: "unsure",
    None: "plain",
}
MADE: Mapping[Stage, str] = {
    Stage.CAPTURE: "events captured, up to row",
    Stage.CURATE: "snapshot",
    Stage.VALIDATE: "Data Docs of the validation",
    Stage.TRAIN: "candidate",
    Stage.REGISTER: "version",
    Stage.EVALUATE: "evidence",
    Stage.DECIDE: "decision",
    Stage.PROMOTE: "promotion's row in the ledger",
    Stage.REPORT: "this page",
}
"""Name of each stage's output."""
EARLIER_SHOWN = 30
DIGITS = 8
"""Digits of a suite's hash on the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NightReport:
    """Content of a night's page; outputs that a skipped night did not make are absent."""

    night: Night
    model: str
    snapshot: Snapshot | None = None
    candidate: Candidate | None = None
    evidence: Evidence | None = None
    decision: Decision | None = None
    version: int | None = None
    steps: Sequence[Mapping[str, float]] = field(default=())
    """Metrics of each training step, each with its `step`."""
    answers: Sequence[Mapping[str, object]] = field(default=())
    """Answers for people to read, from `evals.evidence.collect`."""
    earlier: Sequence[Night] = field(default=())
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    """Decisions of the earlier nights, by id."""
    rows: Sequence[Promotion] = field(default=())
    """The ledger when the page is written."""
    serving: int | None = None
    """The champion when the page is written."""


def render(report: NightReport) -> str:
    """The page as HTML. Raw user text appears only in the answers, escaped."""
    night = report.night
    lead = f"{headline(night, report.rows)}\nNext: {next_step(night, report.rows)}."
    title, blocks = f"{report.model}, {night.night_id}", list(_blocks(report))
    return page(title, badge=outcome(night, report.rows), tone=_tone(report), lead=lead, blocks=blocks)


def _tone(report: NightReport) -> Tone:
    night = report.night
    # Green is for what serves: a promotion that waits for a person must not look as if it did.
    if night.verdict is Verdict.PROMOTE and not promoted(night, report.rows):
        return "unsure"
    match night.status:
        case NightStatus.FAILED:
            return "bad"
        case NightStatus.RUNNING | NightStatus.SKIPPED | NightStatus.DONE:
            return TONES[night.verdict]


def _blocks(report: NightReport) -> Iterator[Block]:
    if said := reasons(report.night, report.decision):
        yield Sentences("Why", said)
    yield _who(report)
    yield from _judged(report)
    if report.snapshot is not None:
        yield from _data(report.snapshot)
    if report.candidate is not None:
        yield from _training(report.steps, report.candidate.metrics)
    if report.earlier:
        yield _earlier(report)
    yield _reproduce(report)


def _judged(report: NightReport) -> Iterator[Block]:
    """Blocks that speak for or against the candidate: alarms, tests, answers, scores."""
    if report.candidate is not None and (found := alarms(report.candidate.metrics)):
        note = "The keys stand under [training] in the settings file."
        yield Table("Alarms of this training", ("alarm", "what is wrong, and what to do"), list(found.items()), note)
    if report.decision is not None and report.decision.tests:
        yield from _decision(report.decision)
    if report.answers:
        yield answer_cards(report.answers)
    if report.evidence is not None:
        yield _standings(report.evidence)


def _who(report: NightReport) -> Block:
    night = report.night
    facts: list[tuple[str, object]] = [
        ("champion before", version_name(night.champion_version)),
        ("champion after", version_name(_champion_after(report))),
    ]
    if report.candidate is not None and report.version is not None:
        trained = f"trained from {version_name(report.candidate.parent_version)}"
        facts.append(("candidate", f"{version_name(report.version)}, {trained}"))
    if report.evidence is not None:
        facts.append(("anchor", version_name(report.evidence.anchor_version)))
    facts.append(("events up to", f"{night.as_of:%Y-%m-%d %H:%M} UTC"))
    facts.append(("night began", f"{night.started_at:%Y-%m-%d %H:%M} UTC"))
    return Facts("Who serves", facts)


def _champion_after(report: NightReport) -> int:
    # The ledger's word goes first: somebody may have moved the champion while the night ran.
    if report.serving is not None:
        return report.serving
    made = report.version if promoted(report.night, report.rows) else None
    return report.night.champion_version if made is None else made


def _decision(decision: Decision) -> Iterator[Block]:
    note = "The dot is the mean difference over users, the line its 95 % interval."
    yield Figure("What held-out users say", plots.effects(decision.tests), note)
    headers = ("test", "role", "outcome", "difference", "p", "items", "users", "detectable")
    rows = [_test_row(test) for test in decision.tests]
    yield Table("Tests", headers, rows, "All tests have to pass. A user is one voice, however many items they have.")


def _test_row(test: TestResult) -> tuple[object, ...]:
    # The head of the column says "p" already.
    p = "" if test.p_value is None else p_value(test.p_value, needed=0.05).removeprefix("p = ").removeprefix("p ")
    found = effect(test.effect, test.low, test.high)
    detectable = "" if none(test.low, test.high) else points(test.mde)
    return (test.name, test.role, passed(test), found, p, test.items, test.clusters, detectable)


def _standings(evidence: Evidence) -> Block:
    headers = ("suite", "role", "anchor", "champion", "candidate", "difference", "items", "users", "content")
    rows = [_standing_row(standing) for standing in standings(evidence.suites)]
    note = (
        "Scores are from 0 to 1. A suite with the role report is there to be read: the gate does not look at it. The "
        "content is the beginning of the suite's hash: another one means other items, or another way to score them."
    )
    return Table("Mean scores, one user one voice", headers, rows, note)


def _standing_row(standing: Standing) -> tuple[object, ...]:
    found = standing.difference
    anchor = "" if standing.anchor is None else f"{standing.anchor:.3f}"
    difference = effect(found.mean, found.low, found.high)
    scores = (anchor, f"{standing.champion:.3f}", f"{standing.candidate:.3f}")
    counts = (found.items, found.clusters)
    return (standing.suite, standing.role, *scores, difference, *counts, standing.suite_sha256[:DIGITS])


def _data(snapshot: Snapshot) -> Iterator[Block]:
    yield Figure("Examples by split and objective", plots.bars(snapshot.counts, x="examples in the snapshot"))
    note = "Nothing is deleted: what waits or is held back is looked at again every night."
    rows = list(explained(snapshot.curation))
    yield Table("What curation did with the feedback", ("count", "how many", "what it is"), rows, note)


def _training(steps: Sequence[Mapping[str, float]], metrics: Mapping[str, float]) -> Iterator[Block]:
    facts = list(size(metrics))
    if facts:
        yield Facts("How large the training was", facts)
    drawn = {}
    for name in CURVES:
        curve = [(step["step"], step[name]) for step in steps if name in step]
        if len(curve) > 1:  # a single point draws no line
            drawn[name] = curve
    if drawn:
        note = f"Means over the last quarter of the steps: {others(metrics)}." if others(metrics) else ""
        yield Figure("Training", plots.curves(drawn, x="step"), note)


def _earlier(report: NightReport) -> Block:
    nights = report.earlier[-EARLIER_SHOWN:][::-1]  # the page stays short however many nights there were
    rows = [(n.night_id, f"{n.as_of:%Y-%m-%d %H:%M}", outcome(n, report.rows), _why(report, n)) for n in nights]
    older = len(report.earlier) - len(nights)
    note = f"The newest first; `nightshift nights` lists {older} older ones." if older else "The newest first."
    return Table("Nights before this one", ("night", "events up to", "outcome", "why"), rows, note)


def _why(report: NightReport, night: Night) -> str:
    return why(night, report.decisions.get(night.outputs.decision_id or ""))


def _reproduce(report: NightReport) -> Block:
    outputs = report.night.outputs
    facts: list[tuple[str, object]] = [(MADE[stage], made) for stage, made in outputs.by_stage().items()]
    if report.candidate is not None:
        facts += [
            ("base model's files", report.candidate.base_fingerprint),
            ("trained from", report.candidate.parent_sha256 or "the base model"),
            ("candidate's adapter", report.candidate.adapter_sha256),
        ]
    if outputs.snapshot_id is not None:
        # Named, because without it the command continues the champion, who may be another one by then.
        parent = f" --from {report.candidate.parent_version}" if report.candidate else ""
        facts.append(("train it again", f"`nightshift train {outputs.snapshot_id}{parent}`"))
    if report.version is not None:
        facts.append(("ask it", f'`nightshift ask --version {report.version} "..."`'))
    note = "What each stage of the night made. Ids chain: each stage's command takes the id of the stage before it."
    return Facts("Where everything is", facts, note)
