"""A service that is away: trying again, less and less often, and saying so."""

import logging
import time
from collections.abc import Callable
from threading import Event as Flag

import tenacity

from loop.errors import UnreachableError

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
"""Between two tries."""
TRYING_AGAIN = "%s; trying again, %.0f s so far"

logger = logging.getLogger(__name__)


class Outage:
    """A log that does not answer: how long already, and how long until the next try."""

    def __init__(self, patience: float, stop: Flag) -> None:
        self._patience = patience
        self._stop = stop
        self._since: float | None = None
        self._pause = FIRST_PAUSE_SECONDS

    def goes_on(self, error: UnreachableError) -> float:
        """Seconds to wait. Raises `error` when it has lasted longer than the patience, or is to stop."""
        self._since = self._since or time.monotonic()
        lasted = time.monotonic() - self._since
        if lasted >= self._patience or self._stop.is_set():
            raise error
        logger.warning(TRYING_AGAIN, error.what, lasted)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return self._pause

    def ends(self) -> None:
        """It answered."""
        if self._since is not None:
            logger.warning("the event log answers again after %.0f s", time.monotonic() - self._since)
        self._since, self._pause = None, FIRST_PAUSE_SECONDS


def retrying(patience: float, stop: Flag) -> tenacity.Retrying:
    """Calls what it is given, again and again while a service does not answer."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(UnreachableError),
        wait=tenacity.wait_exponential(FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS),
        stop=tenacity.stop_any(tenacity.stop_after_delay(patience), tenacity.stop_when_event_set(stop)),
        sleep=tenacity.sleep_using_event(stop),
        before_sleep=_tell,
        reraise=True,
    )


def persist(trying: tenacity.Retrying, call: Callable[[], int]) -> int:
    """What `call` returns, once it does; says so where the database was away."""
    started = time.monotonic()
    returned = trying(call)
    if trying.statistics["attempt_number"] > 1:
        logger.warning("the database answers again after %.0f s", time.monotonic() - started)
    return returned


def _tell(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    logger.warning(TRYING_AGAIN, getattr(error, "what", error), state.seconds_since_start or 0)
