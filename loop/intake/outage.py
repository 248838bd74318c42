"""Waiting for a service that does not answer: retries with growing pauses, each of them logged."""

import logging
import time
from collections.abc import Callable
from threading import Event as Flag

import tenacity

from loop.errors import UnreachableError

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
"""Pause between two tries: it begins at the first and doubles up to the longest."""
TRYING_AGAIN = "%s; trying again, %.0f s so far"

logger = logging.getLogger(__name__)


class Outage:
    """One outage of the event log: how long it has lasted, and the pause before the next try."""

    def __init__(self, patience: float, stop: Flag) -> None:
        self._patience = patience
        self._stop = stop
        self._since: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    def goes_on(self, error: UnreachableError) -> float:
        """Seconds to wait before the next try. Raises `error` when the patience is over or `stop` is set."""
        self._since = self._since or time.monotonic()
        lasted = time.monotonic() - self._since
        if lasted >= self._patience or self._stop.is_set():
            raise error
        logger.warning(TRYING_AGAIN, error.what, lasted)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return self._pause

    def ends(self) -> None:
        """The log answered: the next outage begins with the first pause again."""
        if self._since is not None:
            logger.warning("the event log answers again after %.0f s", time.monotonic() - self._since)
        self._since, self._pause = None, FIRST_PAUSE_SECONDS


def retrying(patience: float, stop: Flag) -> tenacity.Retrying:
    """A caller that repeats its call while a service does not answer, for up to `patience` seconds or until `stop`."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(UnreachableError),
        wait=tenacity.wait_exponential(FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS),
        stop=tenacity.stop_any(tenacity.stop_after_delay(patience), tenacity.stop_when_event_set(stop)),
        sleep=tenacity.sleep_using_event(stop),  # `stop` also ends a pause
        before_sleep=_tell,
        reraise=True,  # callers catch UnreachableError, not tenacity's RetryError
    )


def persist(trying: tenacity.Retrying, call: Callable[[], int]) -> int:
    """The value that `call` returns in the end; the end of an outage of the database is logged."""
    started = time.monotonic()
    returned = trying(call)
    if trying.statistics["attempt_number"] > 1:
        logger.warning("the database answers again after %.0f s", time.monotonic() - started)
    return returned


def _tell(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.warning(TRYING_AGAIN, getattr(error, "what", error), state.seconds_since_start or 0)
