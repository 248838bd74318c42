"""Agreement of settings that are each within bounds: none leaves nobody to train on, none is without effect."""

from loop.errors import UsageError
from loop.settings.constants import DEV_SHARE
from loop.settings.sections import CurationSettings, ValidationSettings


def require(curation: CurationSettings, validation: ValidationSettings) -> None:
    """Raises UsageError, with both keys, for settings that do not go together."""
    if DEV_SHARE + curation.vault_share >= 1:
        raise UsageError(
            f"settings are wrong: curation.vault_share = {curation.vault_share} leaves no user to train on",
            f"lower it to less than {1 - DEV_SHARE}: a share of {DEV_SHARE} of the users is held out beside it",
        )
    # A key at its default may stand in the file, as `init` writes it; another value was chosen for an effect.
    if curation.replay and not curation.max_examples:
        raise _without_effect("curation.replay", "curation.max_examples = 0 leaves no older example out")
    if validation.max_quarantined_share != ValidationSettings().max_quarantined_share and not curation.burst_factor:
        raise _without_effect("validation.max_quarantined_share", "curation.burst_factor = 0 quarantines nobody")


def _without_effect(key: str, why: str) -> UsageError:
    return UsageError(f"settings are wrong: {key} has no effect, {why}", f"leave {key} out, or change the other")
