"""Suites of a user's own: items from a JSONL file, scored by a scorer of ours or by a function of the user's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import DecodeError, Meta, Struct, json

from evals.scorers import check
from evals.suites import NAMES
from evals.suites.items import greedy
from evals.suites.scoring import Scoring, guarded, resolve, tried
from evals.task import Item, Task, generate
from loop.errors import SuiteError
from loop.hashing import digest
from loop.settings import GateSettings, Settings, SuiteSettings
from loop.types import Message, Role, SuiteRole, Verifier

FORM = 'an item is {"prompt": "...", "reference": "..."}; evals/README.md has every field'
Text = Annotated[str, Meta(min_length=1)]


class Turn(Struct, forbid_unknown_fields=True):
    """One message of a prompt."""

    role: Role
    content: str


# Unknown fields are refused: a misspelt `reference` would leave an item that judges something else.
class Line(Struct, kw_only=True, forbid_unknown_fields=True):
    """One item of the file."""

    prompt: Text | Annotated[list[Turn], Meta(min_length=1)]
    reference: str | list[str] | None = None
    verifiers: list[Verifier] = []
    cluster: Text | None = None
    id: Text | None = None


def own_suites(settings: Settings) -> tuple[Task, ...]:
    """The suites that the settings name, with every item scored once on trial.

    Raises SuiteError, which names file and line, for what could not judge a candidate.
    """
    return tuple(_suite(suite, settings) for suite in settings.suites)


def _suite(suite: SuiteSettings, settings: Settings) -> Task:
    if suite.name in NAMES:
        raise SuiteError(f"a suite of every night is called {suite.name}", "give the one under [[suites]] another name")
    scoring = resolve(suite.scorer, settings.project)
    path = settings.project / suite.file
    items: dict[str, tuple[int, Item]] = {}
    for number, raw in _lines(path, suite):
        item = _item(raw, f"{path}:{number}")
        if item.item_id in items:
            raise SuiteError(
                f"{path}:{number}: it has the id of line {items[item.item_id][0]}, {item.item_id}",
                "leave one of them out, or give each an `id` of its own",
            )
        tried(scoring, item, f"{path}:{number}")
        items[item.item_id] = number, item
    made = _task(suite, settings, scoring, tuple(item for _, item in items.values()))
    _require_users(made, path, settings.gate)
    return made


def _task(suite: SuiteSettings, settings: Settings, scoring: Scoring, items: tuple[Item, ...]) -> Task:
    # In the order of ids: moving a line is no other suite.
    ordered = tuple(sorted(items, key=lambda item: item.item_id))
    scorer = guarded(scoring) if scoring.code else scoring.scorer
    sampling = greedy(settings.evaluation)
    return Task(suite.name, suite.role, ordered, generate, scorer, sampling, code=scoring.code)


def _lines(path: Path, suite: SuiteSettings) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that say something, each with its number."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SuiteError(
            f"the file of suite {suite.name} cannot be read: {path}: {error.strerror}",
            "write it, or correct `file` under [[suites]]: it is looked for from the folder of the settings file",
        ) from error
    # Editors on Windows begin a file with a mark.
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if raw.strip():
            yield number, raw


def _item(raw: bytes, place: str) -> Item:
    """The item in a line; `place` is its file and number, for errors."""
    try:
        line = json.decode(raw, type=Line)
    # A wrong shape is a kind of DecodeError, and bytes that are no UTF-8 are a ValueError.
    except (DecodeError, ValueError) as error:
        raise SuiteError(f"{place}: {error}", FORM) from error
    turns = [Turn("user", line.prompt)] if isinstance(line.prompt, str) else line.prompt
    if turns[-1].role == "assistant":
        raise SuiteError(f"{place}: the prompt ends with an answer", "end it with what the model is to answer")
    for verifier in line.verifiers:
        if check(verifier, "") is None:
            raise SuiteError(f"{place}: {verifier.kind} cannot check {verifier.target!r}", "correct its `target`")
    references = [line.reference] if isinstance(line.reference, str) else line.reference or []
    said = {"prompt": line.prompt, "references": references, "verifiers": line.verifiers}
    item_id = line.id or digest({**said, "prompt": [(turn.role, turn.content) for turn in turns]})[:16]
    return Item(
        item_id=item_id,
        cluster=line.cluster or item_id,
        prompt=tuple(Message(turn.role, turn.content) for turn in turns),
        verifiers=tuple(line.verifiers),
        references=tuple(references),
    )


def _require_users(task: Task, path: Path, gate: GateSettings) -> None:
    """Raises SuiteError for a suite without items, and for a guard that the gate could never let pass."""
    if not task.items:
        raise SuiteError(f"{path} has no item", FORM)
    clusters = len({item.cluster for item in task.items})
    match task.role:
        case SuiteRole.GUARD if gate.guards_from <= clusters < gate.min_clusters:
            raise SuiteError(
                f"{path} has {clusters} clusters, and `min_clusters` under [gate] asks for {gate.min_clusters}: with "
                f"suite {task.name} as a guard no candidate could be promoted",
                f'write {gate.min_clusters} lines (each is a cluster unless it names one), or set role = "report"',
            )
        case SuiteRole.GUARD | SuiteRole.REPORT | SuiteRole.SUPERIORITY:
            return
