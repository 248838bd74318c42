"""`nightshift capture` with a group session and transactions of another size than in production.

`python -m tests.capture_process SESSION_SECONDS BATCH_EVENTS [SECTION.KEY=VALUE ...] [--OPTIONS of capture]`
"""

import sys

from connectors.kafka.log import KafkaLog
from loop import settings
from loop.app import App
from loop.cli.capture import capture
from loop.cli.session import Session
from loop.errors import NightshiftError
from loop.machine import Machine


def main(session_seconds: int, batch_events: int, words: list[str]) -> None:
    chosen = [word for word in words if not word.startswith("-") and "=" in word]
    loaded = settings.load(overrides=dict(word.split("=", 1) for word in chosen))
    assert loaded.addresses.kafka
    log = KafkaLog(loaded.addresses.kafka, loaded.log, session_seconds=session_seconds)
    app = App(loaded, machine=Machine(batch_events=batch_events), ports={"log": log})
    try:
        options = [word for word in words if word not in chosen]
        capture.main(args=options, obj=Session(app), standalone_mode=False)
    finally:
        app.close()


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    except NightshiftError as error:
        sys.exit(str(error))
