"""Every deliberate error: what happened, what to do about it, and the exit code the command ends with.

NightshiftError            1  a fault
├── IntegrityError         1  bytes are not the bytes that were recorded
├── FencedError            1  another capture process moved the offset first
├── LeaseHeldError         1  another night is running
├── TrainingError          1  a run that learnt nothing or diverged
│   └── LowMemoryError     1  too little memory was free: the night ends as SKIPPED
├── UsageError             2  bad flags, files or settings
│   ├── EventError         2  an event that does not follow the contract
│   ├── SuiteError         2  a suite of the settings that cannot be read or scored
│   └── NotFoundError      2  an id that names nothing
├── StaleChampionError     3  the champion changed since the decision was made
├── NothingToRollBackError 4  no earlier champion
└── UnreachableError       5  a database, broker or registry does not answer
"""


class NightshiftError(Exception):
    """A deliberate error. `what` says what happened, `remedy` what the reader can do about it."""

    exit_code = 1

    def __init__(self, what: str, remedy: str) -> None:
        # The remedy is in the text as well, so that a traceback shows it.
        super().__init__(f"{what}\n  what to do: {remedy}")
        self.what = what
        self.remedy = remedy

    def __reduce__(self) -> "tuple[type[NightshiftError], tuple[str, str]]":
        """Pickle by `what` and `remedy`, not by the joined text, so that another process can raise it again."""
        return type(self), (self.what, self.remedy)


class IntegrityError(NightshiftError):
    """Stored bytes differ from the hash recorded for them."""


class FencedError(NightshiftError):
    """The stored offset is not the one this reader started from, so its batch was rolled back."""


class LeaseHeldError(NightshiftError):
    """Another process holds the lease on the night."""


class TrainingError(NightshiftError):
    """Training could not produce an adapter worth judging."""


class LowMemoryError(TrainingError):
    """Training did not begin: less memory was free than it needs, for as long as it waited."""


class UsageError(NightshiftError):
    """The command, a file or a setting is wrong."""

    exit_code = 2


class EventError(UsageError):
    """An event does not follow the wire contract; capture keeps it as a dead letter."""


class SuiteError(UsageError):
    """A suite of the settings cannot be read, or its scorer fails; `what` names file and line."""


class NotFoundError(UsageError):
    """An id or a version names nothing."""


class StaleChampionError(NightshiftError):
    """The champion is no longer the one the decision was made against."""

    exit_code = 3


class NothingToRollBackError(NightshiftError):
    """The ledger knows no earlier champion."""

    exit_code = 4


class UnreachableError(NightshiftError):
    """A service does not answer."""

    exit_code = 5
