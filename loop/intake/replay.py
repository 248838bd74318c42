"""Replay of dead letters: those that can be parsed by now go through the event log again."""

from collections.abc import Iterable

from loop.errors import EventError
from loop.intake.events import decode, encode
from loop.ports import Clock, EventLog, EventStore
from loop.types import DeadLetter


def replay(letters: Iterable[DeadLetter], log: EventLog, store: EventStore, *, clock: Clock) -> tuple[int, int]:
    """Send `letters` again and mark them; returns the numbers of those sent and of those that still cannot be parsed.

    Letters that were replayed before are left out.
    """
    sent = still_dead = 0
    for letter in letters:
        if letter.replayed_at is not None:
            continue
        try:
            again = encode(decode(letter.payload))
        except EventError:
            still_dead += 1
            continue
        # In this order a crash between the two sends the letter twice, which capture absorbs; in the other order it
        # would be lost.
        log.append([again])
        store.mark_replayed(letter.letter_id, clock())
        sent += 1
    return sent, still_dead
