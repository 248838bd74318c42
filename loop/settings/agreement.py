"""Checks across settings: combinations that would leave nothing to train on, and keys without effect."""

from collections.abc import Sequence
from typing import assert_never

from loop.errors import UsageError
from loop.settings.sections import CurationSettings, SuiteSettings, ValidationSettings
from loop.types import SuiteRole


def require(curation: CurationSettings, validation: ValidationSettings, suites: Sequence[SuiteSettings]) -> None:
    """Raises UsageError, with both keys, for settings that do not go together."""
    _require_suites(suites)
    if curation.dev_share + curation.vault_share >= 1:
        raise UsageError(
            "settings are wrong: curation.dev_share and curation.vault_share leave no user to train on",
            "lower one of them: together they have to stay under 1",
        )
    # A key at its default may stand in the file, as `init` writes it; another value was chosen for an effect.
    if curation.replay and not curation.max_examples:
        raise _without_effect("curation.replay", "curation.max_examples = 0 leaves no older example out")
    if validation.max_quarantined_share != ValidationSettings().max_quarantined_share and not curation.burst_factor:
        raise _without_effect("validation.max_quarantined_share", "curation.burst_factor = 0 quarantines nobody")


def _without_effect(key: str, why: str) -> UsageError:
    return UsageError(f"settings are wrong: {key} has no effect, {why}", f"leave {key} out, or change the other")


def _require_suites(suites: Sequence[SuiteSettings]) -> None:
    """Raises UsageError for two suites of one name, and for one that is to show a gain."""
    names = [suite.name for suite in suites]
    for suite in suites:
        if names.count(suite.name) > 1:
            raise UsageError(f"settings are wrong: two suites are called {suite.name}", "give each a name of its own")
        match suite.role:
            case SuiteRole.GUARD | SuiteRole.REPORT:
                pass
            case SuiteRole.SUPERIORITY:
                raise UsageError(
                    f"settings are wrong: suite {suite.name} has the role superiority, and a fixed file cannot show "
                    "that a candidate is better: its items would be evidence again every night, until one passes by "
                    "luck",
                    'use role = "guard", which blocks a loss, or role = "report", which is only read',
                )
            case _:
                assert_never(suite.role)
