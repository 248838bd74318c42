"""`python -m tests.campaign`: the campaign, then its control; the last line is one JSON object."""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain, islice, takewhile
from pathlib import Path

from connectors.kafka_log import KafkaLog
from connectors.kafka_topics import create
from connectors.sql_store import SqlStore
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
ZOMBIES = 5
"""At most: captures sleep past their session until one is fenced, which those that had nothing in hand are not."""


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


def run(events: int, harms: Mapping[str, int], seed: int, *, control: bool) -> Outcome:
    """The whole thing, on servers of its own."""
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
        _send_and_harm(log, store, envelopes(events, seed), events, nemesis, _order(harms, nemesis))
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
    events: int,
    nemesis: Nemesis,
    order: Sequence[str],
) -> None:
    """A share of the events, and while they are being stored a harm, and so on; then zombies until one is fenced."""
    share = events // (len(order) + ZOMBIES) + 1
    later = takewhile(lambda _: not nemesis.captures.said(FENCED), ["zombie"] * (ZOMBIES - order.count("zombie")))
    with ThreadPoolExecutor(1) as producer:
        for number, kind in enumerate(chain(order, later), start=1):
            sent = producer.submit(_append, log, list(islice(sending, share)))
            _await_progress(store)
            time.sleep(0.0 if kind == "zombie" else nemesis.rng.uniform(0.0, BUSY_SECONDS))
            nemesis.harm(kind)
            sent.result()
            print(f"{number}. {kind}", file=sys.stderr, flush=True)
        producer.submit(_append, log, list(sending)).result()


def _order(harms: Mapping[str, int], nemesis: Nemesis) -> Sequence[str]:
    order = [kind for kind, count in harms.items() for _ in range(count)]
    nemesis.rng.shuffle(order)
    return order


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
    real = run(chosen.events, HARMS, chosen.seed, control=False)
    control = run(chosen.events // 4, HARMS, chosen.seed, control=True)
    print(json.dumps({**real.figures(), "control": control.figures()}))
    caught = control.verdict.lost or control.verdict.duplicated or control.verdict.ingested_again
    if real.faults or not caught or not real.fences:
        print(*real.gave_up, sep="\n", file=sys.stderr)
        found = ", ".join(real.faults) or "none"
        sys.exit(f"faults: {found}; fences: {real.fences}; the control was {'' if caught else 'not '}caught")


if __name__ == "__main__":
    main()
