"""What the page of a night says, in the order a reviewer asks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from evals.standings import Standing, standings
from loop.alarms import alarms
from loop.report import plots
from loop.report.page import Block, Facts, Figure, Table, Tone, page
from loop.types import Candidate, Decision, Evidence, Night, Snapshot, Stage, TestResult, Verdict

ANSWERS_SHOWN = 12
CURVES = ("loss", "reward_margin", "accuracy", "kl")
TONES: Mapping[Verdict | None, Tone] = {
    Verdict.PROMOTE: "good",
    Verdict.REJECT: "bad",
    Verdict.HOLD: "unsure",
    Verdict.UNDERPOWERED: "unsure",
    None: "plain",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NightReport:
    """Everything a night left behind that a page can show; what a skipped night never made is absent."""

    night: Night
    model: str
    snapshot: Snapshot | None = None
    candidate: Candidate | None = None
    evidence: Evidence | None = None
    decision: Decision | None = None
    version: int | None = None
    steps: Sequence[Mapping[str, float]] = field(default=())
    """Training metrics by step, each with `step`."""
    answers: Sequence[Mapping[str, object]] = field(default=())
    """item_id, prompt, champion_answer, candidate_answer, champion_score, candidate_score."""
    earlier: Sequence[Night] = field(default=())


def render(report: NightReport) -> str:
    """The page. Raw user text appears only in the answers table, escaped."""
    night = report.night
    verdict = str(night.verdict or night.status.upper())
    lead = "\n".join(report.decision.reasons if report.decision else night.reasons)
    title, blocks = f"{report.model}, {night.night_id}", list(_blocks(report))
    return page(title, badge=verdict, tone=TONES[night.verdict], lead=lead, blocks=blocks)


def _blocks(report: NightReport) -> Iterator[Block]:
    if report.decision is not None and report.decision.tests:
        yield from _decision(report.decision)
    if report.evidence is not None:
        yield _standings(report.evidence)
    if report.snapshot is not None:
        yield from _data(report.snapshot)
    if report.steps:
        yield from _training(report)
    if report.answers:
        yield _answers(report.answers)
    if report.earlier:
        yield _earlier(report.earlier)
    yield _reproduce(report)


def _decision(decision: Decision) -> Iterator[Block]:
    yield Figure("What the held-out users say", plots.effects(decision.tests))
    headers = ("test", "items", "users", "effect", "95 % interval", "p", "detectable", "")
    yield Table("Tests", headers, [_test_row(test) for test in decision.tests])


def _test_row(test: TestResult) -> tuple[object, ...]:
    interval = f"{test.low:+z.3f} … {test.high:+z.3f}"
    p_value = "" if test.p_value is None else f"{test.p_value:.4f}"
    outcome = "passed" if test.passed else "failed"
    return (test.name, test.items, test.clusters, f"{test.effect:+z.3f}", interval, p_value, f"{test.mde:.3f}", outcome)


def _standings(evidence: Evidence) -> Block:
    headers = ("suite", "role", "items", "users", "anchor", "champion", "candidate", "difference, 95 % interval")
    rows = [_standing_row(standing) for standing in standings(evidence.suites)]
    note = "A suite with the role report is for reading: the gate does not look at it."
    return Table("Mean scores, one user one voice", headers, rows, note)


def _standing_row(standing: Standing) -> tuple[object, ...]:
    found = standing.difference
    anchor = "" if standing.anchor is None else f"{standing.anchor:.3f}"
    difference = f"{found.mean:+z.3f}, {found.low:+z.3f} … {found.high:+z.3f}"
    scores = anchor, f"{standing.champion:.3f}", f"{standing.candidate:.3f}"
    return (standing.suite, standing.role, found.items, found.clusters, *scores, difference)


def _data(snapshot: Snapshot) -> Iterator[Block]:
    yield Figure("Examples by split and objective", plots.bars(snapshot.counts, x="examples"))
    rows = sorted(snapshot.curation.items())
    note = "Nothing is deleted: what waits or is held back is looked at again every night."
    yield Table("What curation did with the feedback", ("what", "how many"), rows, note)


def _training(report: NightReport) -> Iterator[Block]:
    shown = {name: [(step["step"], step[name]) for step in report.steps if name in step] for name in CURVES}
    metrics = report.candidate.metrics if report.candidate else {}
    figures = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
    curves = plots.curves({name: points for name, points in shown.items() if points}, x="step")
    yield Figure("Training", curves, f"{_how_far(metrics)} {figures}")
    if found := alarms(metrics):
        yield Table("Alarms of this training", ("alarm", "what is wrong, and what to do"), [*found.items()])


def _how_far(metrics: Mapping[str, float]) -> str:
    """A sentence on the steps of a training that has ended; nothing of one that has not."""
    if "steps_planned" not in metrics:
        return ""
    why = "; its budget ended it" if metrics["budget_hit"] else ""
    return f"{metrics['steps']:.0f} of {metrics['steps_planned']:.0f} steps, {metrics['skipped']:.0f} left out{why}."


def _answers(answers: Sequence[Mapping[str, object]]) -> Block:
    """The largest changes, up and down in turn: a reviewer wants to see what got worse."""
    by_change = sorted(answers, key=_change)
    count = min(ANSWERS_SHOWN, len(by_change))
    chosen = by_change[::-1][: (count + 1) // 2] + by_change[: count // 2]
    headers = ("asked", "champion", "candidate", "score before", "score after")
    columns = ("prompt", "champion_answer", "candidate_answer", "champion_score", "candidate_score")
    rows = [[_cell(answer[column]) for column in columns] for answer in chosen]
    note = f"The largest gains, then the largest losses, of {len(answers)} held-out items."
    return Table("Answers before and after", headers, rows, note, wide=True)


def _change(answer: Mapping[str, object]) -> float:
    before, after = answer["champion_score"], answer["candidate_score"]
    return float(after) - float(before) if isinstance(before, float) and isinstance(after, float) else 0.0


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _earlier(nights: Sequence[Night]) -> Block:
    rows = [(n.night_id, f"{n.as_of:%Y-%m-%d %H:%M}", n.verdict or n.status, "; ".join(n.reasons)) for n in nights]
    return Table("Nights before this one", ("night", "as of", "verdict", "reasons"), rows)


def _reproduce(report: NightReport) -> Block:
    outputs = report.night.outputs
    facts: list[tuple[str, object]] = [(stage, outputs[stage]) for stage in Stage if stage in outputs]
    if report.candidate is not None:
        facts += [
            ("base model", report.candidate.base_fingerprint),
            ("continued from", report.candidate.parent_sha256 or "the base model"),
            ("candidate's adapter", report.candidate.adapter_sha256),
        ]
    if Stage.CURATE in outputs:
        parent = f" --from {report.candidate.parent_version}" if report.candidate else ""
        facts.append(("train it again", f"nightshift train {outputs[Stage.CURATE]}{parent}"))
    if report.version is not None:
        facts.append(("ask it", f'nightshift ask --version {report.version} "..."'))
    return Facts("Where everything is", facts, "Ids chain: each stage's verb takes the id of the stage before it.")
