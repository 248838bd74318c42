"""Split of users into train, dev and vault: the same on all nights, whatever their feedback."""

import hmac

from loop.settings import CurationSettings
from loop.types import Split


def split_of(tenant: str, cluster: str, settings: CurationSettings) -> Split:
    """The split of a user, for ever: HMAC-SHA256(split_key, tenant/cluster) as a number in [0, 1)."""
    message = f"{tenant}/{cluster}".encode()
    mac = hmac.digest(settings.split_key.encode(), message, "sha256")
    position = int.from_bytes(mac[:8], "big") / 2**64
    if position < settings.vault_share:
        return Split.VAULT
    if position < settings.vault_share + settings.dev_share:
        return Split.DEV
    return Split.TRAIN
