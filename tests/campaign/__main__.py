"""`python -m tests.campaign`: the campaign, then its control; the last line is one JSON object."""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain, islice, takewhile
from pathlib import Path

from connectors.kafka.log import KafkaLog
from connectors.kafka.topics import create
from connectors.sql.store import SqlStore
from loop.errors import UnreachableError
from loop.ports import Envelope
from loop.settings import KafkaAccess, LogSettings
from tests.campaign.nemesis import SESSION_SECONDS, Captures, Nemesis
from tests.campaign.workload import Verdict, envelopes, verdict
from tests.services import Kafka, Postgres

CAPTURES, PARTITIONS = 3, 6
FENCED = "fenced: "
PATIENCE_SECONDS = 300
BUSY_SECONDS = 0.3
"""For about so long a share of the events keeps the captures busy."""
MUST_BE_ZERO = ("lost", "duplicated", "ingested_again", "reordered", "letters_wrong", "gave_up", "not_drained")
HARMS = {"capture_killed": 20, "zombie": 1, "broker_killed": 3, "database_crashed": 2}
MORE_ZOMBIES = 4
"""At most, until one is fenced, which a capture that had nothing in hand when it fell asleep is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One run: what was sent, what became of it, and what was done to it."""

    events: int
    entries: int
    """In the log: events, those sent twice, and poison."""
    verdict: Verdict
    fences: int
    harms: Mapping[str, int]
    gave_up: Sequence[str]
    """What captures said last that ended by themselves."""
    drained: Sequence[int]
    """Exit codes of the captures after SIGTERM."""
    seconds: float

    @property
    def faults(self) -> list[str]:
        """What exactly-once would not have done."""
        found = {**asdict(self.verdict), "gave_up": self.gave_up, "not_drained": sum(map(bool, self.drained))}
        return [f"{found[name]} {name}" for name in MUST_BE_ZERO if found[name]]

    def figures(self) -> dict[str, object]:
        """For the report."""
        return {
            "sent": self.events,
            "entries": self.entries,
            **asdict(self.verdict),
            "fences": self.fences,
            "kills": dict(self.harms),
            "gave_up": len(self.gave_up),
            "drained": list(self.drained),
            "seconds": round(self.seconds),
        }


def run(events: int, harms: Mapping[str, int], seed: int, *, control: bool, more_zombies: int = 0) -> Outcome:
    """The whole thing, on servers of its own; after the `harms` at most `more_zombies`, until one is fenced."""
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="nightshift-campaign-"))
    kafka, postgres = Kafka(brokers=3), Postgres()
    access, settings = KafkaAccess(kafka.servers), LogSettings(partitions=PARTITIONS)
    create(access, settings)
    log, store = KafkaLog(access, settings), SqlStore(postgres.url)
    environment = {"NIGHTSHIFT_KAFKA_SERVERS": ",".join(kafka.servers), "NIGHTSHIFT_STORE_URL": postgres.url}
    captures = Captures(environment, folder, control)
    try:
        captures.start(CAPTURES)
        nemesis = Nemesis(kafka, postgres, captures, random.Random(seed))
        order = [kind for kind, count in harms.items() for _ in range(count)]
        nemesis.rng.shuffle(order)
        later = takewhile(lambda _: not captures.said(FENCED), ["zombie"] * more_zombies)
        share = events // (len(order) + more_zombies + 1) + 1
        _send_and_harm(log, store, envelopes(events, seed), share, nemesis, chain(order, later))
        entries = _await_end(log, store, captures)
        drained = captures.drain()
        found = verdict(postgres.url, events, entries)
        return Outcome(
            events=events,
            entries=entries,
            verdict=found,
            fences=captures.said(FENCED),
            harms=nemesis.done,
            gave_up=captures.gave_up,
            drained=drained,
            seconds=time.monotonic() - started,
        )
    finally:
        captures.kill_all()
        log.close()
        store.close()
        kafka.remove()
        postgres.remove()
        shutil.rmtree(folder)


def _send_and_harm(
    log: KafkaLog,
    store: SqlStore,
    sending: Iterator[Envelope],
    share: int,
    nemesis: Nemesis,
    order: Iterable[str],
) -> None:
    """A share of the events, and while they are being stored a harm, and so on."""
    with ThreadPoolExecutor(1) as producer:
        for number, kind in enumerate(order, start=1):
            sent = producer.submit(_append, log, list(islice(sending, share)))
            _await_progress(store)
            time.sleep(0.0 if kind == "zombie" else nemesis.rng.uniform(0.0, BUSY_SECONDS))
            nemesis.harm(kind)
            sent.result()
            print(f"{number}. {kind}", file=sys.stderr, flush=True)
        producer.submit(_append, log, list(sending)).result()


def _await_progress(store: SqlStore) -> None:
    """Until something is stored, so that the harm falls into the work; not for long, as all captures may be dead."""
    before, patience = store.watermark(), time.monotonic() + 2 * SESSION_SECONDS
    while store.watermark() == before and time.monotonic() < patience:
        time.sleep(0.01)


def _append(log: KafkaLog, share: list[Envelope]) -> None:
    """Again until it is acknowledged: what got through the first time is there twice then."""
    while True:
        try:
            log.append(share)
        except UnreachableError as error:
            print(error.what, file=sys.stderr)
        else:
            return


def _await_end(log: KafkaLog, store: SqlStore, captures: Captures) -> int:
    """Entries of the log, once the captures have stored them all."""
    ends, patience = log.ends(), time.monotonic() + PATIENCE_SECONDS
    while any(store.position(partition) < end for partition, end in ends.items()):
        captures.revive()
        if time.monotonic() > patience:
            behind = {p.number: end - store.position(p) for p, end in ends.items() if store.position(p) < end}
            raise TimeoutError(f"captures are stuck, entries behind by partition: {behind}")
        time.sleep(0.5)
    return sum(ends.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    real = run(chosen.events, HARMS, chosen.seed, control=False, more_zombies=MORE_ZOMBIES)
    control = run(chosen.events // 4, HARMS, chosen.seed, control=True)
    print(json.dumps({**real.figures(), "control": control.figures()}))
    caught = control.verdict.lost or control.verdict.duplicated or control.verdict.ingested_again
    if real.faults or not caught or not real.fences:
        print(*real.gave_up, sep="\n", file=sys.stderr)
        found = ", ".join(real.faults) or "none"
        sys.exit(f"faults: {found}; fences: {real.fences}; the control was {'' if caught else 'not '}caught")


if __name__ == "__main__":
    main()
