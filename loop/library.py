"""The library: a method for each command, on one project."""

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from loop import settings as files
from loop.app import App, now
from loop.errors import NotFoundError, UsageError
from loop.home import USER_KEY
from loop.ports import silent
from loop.results import Finding, ImportedFile, Replayed, Status
from loop.types import DeadLetter, Event, Feedback, FeedbackKind, Json, Message, Night, Promotion, Sampling

# Names for the type checker alone: each method imports what it needs, so that sending feedback loads nothing heavy.
if TYPE_CHECKING:
    from loop.intake.capture import Captured
    from loop.models import LanguageModel
    from loop.nights.parts import Parts
    from loop.nights.prune import Unneeded
    from loop.ports import Progress
    from loop.types import Candidate, Decision, Evidence, Snapshot, Validation

APPEND_BATCH = 1_000
"""Events of a file that are appended at once, because a file may be larger than memory."""


_LOG = logging.getLogger(__name__)


def open_loop(
    config: Path | str | None = None,
    *,
    home: Path | str | None = None,
    overrides: Mapping[str, Json] | None = None,
    progress: "Progress" = silent,
    ports: Mapping[str, object] | None = None,
) -> "Loop":
    """The loop of the project in this folder, or of the settings file `config`.

    `home` is used instead of NIGHTSHIFT_HOME, and `overrides` maps `section.key` to a value. `ports` are connectors by
    name that somebody else opened: those of `loop.testing`, or shared ones. Nothing is opened or made before it is
    needed. Raises UsageError for settings that cannot be used, and in a folder without a project.
    """
    loaded = files.load(None if config is None else Path(config), overrides)
    if home is not None:
        loaded = files.at_home(loaded, Path(home))
    configured = config is not None or Path(files.SETTINGS_FILE).exists()
    if loaded.older:
        _LOG.warning("no night runs under settings of an earlier version: %s", files.told(loaded))
    app = App(loaded, configured=configured, progress=progress, ports=ports)
    if not ports:
        app.require_project()
    return Loop(app)


@dataclass(frozen=True, slots=True)
class Loop:
    """One project: its nights, versions and events.

    Several threads may use it, also after a fork; as a context manager it closes what it opened.
    """

    app: App

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the event log."""
        self.app.close()

    def doctor(self, *, model: bool = False) -> Sequence[Finding]:
        """A finding of each check of what a night needs: libraries, databases, ledger, registry, base model, disk, ...

        With `model` the champion is also loaded and says a token. Nothing is raised for what is wrong.
        """
        from loop.doctor import examine

        return examine(self.app, loading=model)

    # Data

    def append(self, events: Iterable[Event]) -> None:
        """Append interactions and feedback to the event log, durable when it returns.

        Raises EventError for an event that does not follow the contract; then none of them is written.
        """
        from loop.intake.events import encode

        # A list, so that all are encoded, and checked, before the first is written.
        self.app.log.append([encode(event) for event in events])

    def feedback(
        self,
        interaction_id: str,
        kind: FeedbackKind | str,
        value: float | None = None,
        *,
        text: str | None = None,
        user: str | None = None,
        user_key: str | None = None,
        tenant: str = "default",
        feedback_id: str | None = None,
        other_interaction_id: str | None = None,
        whole_conversation: bool = False,
        revises: str | None = None,
        retracted: bool = False,
        source: str = "app",
        occurred_at: datetime | None = None,
        metadata: Mapping[str, Json] | None = None,
    ) -> str:
        """Append feedback on an answer to the event log; returns its id.

        The arguments are the fields of `Feedback`, except `user`: the application's own name for the user, stored as a
        pseudonym (HMAC) only, instead of a `user_key` that was made before. `occurred_at` is now by default. Feedback
        that may be sent twice needs a `feedback_id`, under which it counts once. Raises EventError for values that the
        kind does not allow, UsageError for a kind that does not exist and for a `user` where the key of pseudonyms is
        missing.
        """
        if kind not in list(FeedbackKind):
            raise UsageError(f"there is no feedback of the kind {kind!r}", f"choose one of {', '.join(FeedbackKind)}")
        sent = Feedback(
            feedback_id=feedback_id or uuid.uuid4().hex,
            source=source,
            occurred_at=occurred_at or now(),
            interaction_id=interaction_id,
            kind=FeedbackKind(kind),
            value=value,
            text=text,
            other_interaction_id=other_interaction_id,
            whole_conversation=whole_conversation,
            revises=revises,
            retracted=retracted,
            user_key=user_key if user is None else self.pseudonym(user),
            tenant=tenant,
            metadata=metadata or {},
        )
        self.append([sent])
        return sent.feedback_id

    def pseudonym(self, user: str) -> str:
        """Pseudonym under which everything of a user is stored.

        Raises UsageError on a host that shares a database or a broker with others but lacks the key of pseudonyms: with
        a key of its own it would make two voices of one person.
        """
        from loop.intake.events import pseudonym

        app, key = self.app, self.app.home / USER_KEY
        if app.settings.addresses.shared and not app.settings.addresses.user_secret and not key.exists():
            raise UsageError(
                f"there is no key of the users' pseudonyms: neither NIGHTSHIFT_USER_SECRET nor {key}",
                "set NIGHTSHIFT_USER_SECRET to what the other hosts have, or send a pseudonym as user_key",
            )
        return pseudonym(app.user_secret, user)

    def capture(self) -> "Captured":
        """Store all new events of the event log; returns their counts."""
        from loop.intake.capture import capture

        return capture(self.app.log, self.app.store, batch_size=self.app.machine.batch_events)

    def import_file(
        self, file: Path | str, format_name: str = "nightshift", *, start: datetime | None = None
    ) -> ImportedFile:
        """Append the events of a file to the event log and capture them.

        Bad lines become dead letters. Ids come from the content, so that a file imported twice is stored once. Lines
        without a time follow each other by a second from `start` (yesterday's midnight, UTC). Raises UsageError for an
        unknown format and for a file that cannot be read.
        """
        from connectors.imports import encoded

        events = encoded(Path(file), format_name, secret=self.app.user_secret, start=start or yesterday())
        refusal = ""
        while batch := list(islice(events, APPEND_BATCH)):
            self.app.log.append([each.envelope for each in batch])
            letters = (each.event for each in batch if isinstance(each.event, DeadLetter))
            refusal = refusal or next((letter.reason for letter in letters), "")
        return ImportedFile(self.capture(), refusal)

    def dead_letters(self, *, replayed: bool = False) -> Sequence[DeadLetter]:
        """Events that could not be parsed, with `replayed` also those that were sent again since."""
        letters = self.app.store.dead_letters()
        return [letter for letter in letters if replayed or letter.replayed_at is None]

    def dead_letter(self, letter_id: str) -> DeadLetter:
        """The dead letter whose id begins like this. Raises NotFoundError for none and for several."""
        letters = self.app.store.dead_letters()
        found = [letter for letter in letters if letter.letter_id.startswith(letter_id)]
        if len(found) != 1:
            raise NotFoundError(
                f"{len(found)} dead letters have ids that begin with {letter_id!r}", "nightshift dlq list"
            )
        return found[0]

    def replay(self, letters: Iterable[DeadLetter] | None = None) -> Replayed:
        """Send dead letters through the event log again, all or these; those that still cannot be parsed stay."""
        from loop.intake.replay import replay

        chosen = self.dead_letters() if letters is None else letters
        sent, still_dead = replay(chosen, self.app.log, self.app.store, clock=now)
        return Replayed(sent, still_dead)

    def curate(self, as_of: datetime | None = None, *, until: int | None = None) -> "Snapshot":
        """Make a snapshot of all feedback known at `as_of` (now), up to the ingestion sequence `until` (all)."""
        from loop.nights.curate import curate_snapshot

        return curate_snapshot(self._parts, self.app.store.watermark() if until is None else until, as_of or now())

    def validate(self, snapshot_id: str) -> "Validation":
        """Validate a snapshot by the expectation suite. Raises NotFoundError for an unknown id."""
        # Here and in the stages below, a wrong id is told before the seconds that heavy libraries take to import.
        self.app.store.snapshot(snapshot_id)
        from loop.nights.validate import validate_snapshot

        return validate_snapshot(self._parts, snapshot_id)

    # Nights

    def run(self, as_of: datetime | None = None, *, abandon: str = "") -> Night:
        """Run one night, or the rest of an interrupted one; `abandon` is the reason to give that one up instead.

        Raises LeaseHeldError while another night runs.
        """
        from loop.models import require_torch
        from loop.nights.nightly import run

        require_torch()  # a night without torch would stop in the middle, at its training
        return run(self._parts, as_of or now(), abandon=abandon)

    def nights(self) -> Sequence[Night]:
        """Every night, oldest first."""
        return self.app.store.nights()

    def status(self) -> Status:
        """The serving version, since when and why, and the standing of every night."""
        from loop import promotion
        from loop.report.standings import standings

        rows, store = self.app.ledger.entries(), self.app.store
        return Status(
            model=self.app.settings.model.name,
            champion=promotion.champion(rows),
            anchor=promotion.anchor(rows),
            moved=promotion.last_move(rows),
            nights=standings(store, rows, now()),
            counts=store.counts(),
        )

    def prune(self, keep: int, *, dry_run: bool = False) -> Sequence["Unneeded"]:
        """Remove files that neither a rollback nor one of the newest `keep` nights needs; returns their entries.

        Raises LeaseHeldError while a night runs, which could come to need them.
        """
        from loop.nights.prune import remove, unneeded
        from loop.ports import LEASE_SECONDS, NIGHT_LEASE

        store = self.app.store
        with nullcontext() if dry_run else store.lease(NIGHT_LEASE, LEASE_SECONDS):
            found = unneeded(self.app.home, store, self.app.ledger, keep)
            if not dry_run:
                remove(found)
        return found

    def train(self, snapshot_id: str, *, parent: int | None = None) -> "Candidate":
        """Train a candidate on a snapshot; it continues the champion, or the version `parent` (0: the base model)."""
        self.app.store.snapshot(snapshot_id)
        from loop.nights.train import train_candidate

        return train_candidate(self._parts, snapshot_id, self.champion() if parent is None else parent)

    def register(self, candidate_id: str) -> int:
        """Register a candidate; returns its version."""
        self.app.store.candidate(candidate_id)
        from loop.nights.register import register_candidate

        return register_candidate(self._parts, candidate_id)

    def evaluate(self, candidate_id: str) -> "Evidence":
        """Score candidate, champion and anchor on the prompts of held-out users."""
        self.app.store.candidate(candidate_id)
        from loop.nights.evaluate import evaluate_candidate

        return evaluate_candidate(self._parts, candidate_id, self.champion())

    def decide(self, evidence_id: str) -> "Decision":
        """Apply the gate to evidence."""
        self.app.store.evidence(evidence_id)
        from loop.nights.decide import decide_candidate

        return decide_candidate(self._parts, evidence_id)

    # Versions

    def champion(self) -> int:
        """The version that serves; 0 is the base model."""
        from loop.promotion import champion

        return champion(self.app.ledger.entries())

    def promote(self, version: int, *, actor: str, reason: str = "", decision_id: str | None = None) -> Promotion:
        """Make a version the champion, on a PROMOTE decision or, without one, on the actor's word with a reason."""
        from loop import promotion

        return promotion.promote(
            self.app.ledger,
            self.app.registry,
            version=version,
            decision=self.app.store.decision(decision_id) if decision_id else None,
            model=self.app.settings.model.name,
            actor=actor,
            reason=reason,
            clock=now,
        )

    def rollback(self, *, actor: str, reason: str = "", to: int | None = None) -> Promotion:
        """Return to the champion before this one, or to the earlier champion `to`; needs ledger and registry alone."""
        from loop import promotion

        return promotion.rollback(self.app.ledger, self.app.registry, to=to, actor=actor, reason=reason, clock=now)

    def approve(self, version: int, *, actor: str, reason: str = "") -> Promotion:
        """Make a champion the anchor, behind which no candidate may fall."""
        from loop import promotion

        return promotion.approve(
            self.app.ledger,
            self.app.registry,
            version=version,
            model=self.app.settings.model.name,
            actor=actor,
            reason=reason,
            clock=now,
        )

    def reconcile(self) -> Sequence[str]:
        """Make the registry's aliases say what the ledger says; returns a line for each repair."""
        from loop import promotion

        return promotion.reconcile(self.app.ledger, self.app.registry)

    def history(self) -> Sequence[Promotion]:
        """Rows of the ledger, oldest first, with their hash chain verified."""
        return self.app.ledger.entries()

    # Serving

    def model(self, version: int | None = None) -> "LanguageModel":
        """The champion, or another version, loaded after a check that its bytes are the recorded ones."""
        from loop.promotion import champion

        entries = self.app.ledger.entries()
        return self.app.model(entries, champion(entries) if version is None else version)

    def sampling(self) -> Sampling | None:
        """Sampling of most of the newest interactions; None where none of them has one."""
        from loop.nights.versions import usual_sampling

        return usual_sampling(self.app.store)

    def ask(
        self, question: str | Sequence[Message], *, version: int | None = None, sampling: Sampling | None = None
    ) -> str:
        """The answer of the champion, or of another version, to a question or a conversation.

        It is drawn by `sampling`, else as production's newest interactions were. Each call loads the model: for several
        questions use `model`.
        """
        messages = [Message("user", question)] if isinstance(question, str) else list(question)
        drawn = sampling or self.sampling() or Sampling()
        [answer] = self.model(version).generate([messages], drawn)
        return answer.text

    @property
    def _parts(self) -> "Parts":
        return self.app.parts


def yesterday() -> datetime:
    """Yesterday's midnight (UTC): lines imported today are then inside every window and already mature."""
    return now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
