"""The registered model and its owner: a tag holds the id of one ledger, and the homes of other ledgers may not write.

Without it two homes on one server that give their models the same name would move each other's aliases.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from connectors.mlflow.client import explained, without_credentials
from loop.errors import IntegrityError, NotFoundError, UsageError
from loop.ports import Ledger
from loop.promotion import BASE
from loop.promotion.aliases import CHAMPION
from loop.types import Promotion

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

TAG = "nightshift.ledger_id"
_ABOUT = "LoRA adapters, trained, judged and promoted by Nightshift. Its ledger decides; the aliases follow."
_TAKEN = "RESOURCE_ALREADY_EXISTS"


def claim(client: "MlflowClient", uri: str, model: str, ledger: Ledger) -> None:
    """Make the model this ledger's own, unless it is already.

    A model that is absent is made with the tag. A model of 0.1.0, which has no tag, is claimed when its versions and
    its champion fit the ledger. Raises UsageError for another ledger's model, IntegrityError where they do not fit.
    """
    mine = ledger.ledger_id()
    found = find(client, uri, model) or _make(client, uri, model, mine)
    if TAG not in found.tags:
        _require_fit(found, ledger.entries(), versions_of(client, uri, model))
        with explained(uri):
            client.set_registered_model_tag(model, TAG, mine)
            # Read again, since MLflow sets tags unconditionally: of two that claim a model at once the last one has it.
            found = client.get_registered_model(model)
    require_own(found, uri, mine)


def find(client: "MlflowClient", uri: str, model: str) -> "RegisteredModel | None":
    """The registered model; None before the first home has written."""
    try:
        with explained(uri):
            return client.get_registered_model(model)
    except NotFoundError:
        return None


def versions_of(client: "MlflowClient", uri: str, model: str) -> list["ModelVersion"]:
    """All versions of a model, in no particular order."""
    # MLflow answers in pages; the token of the last page is empty.
    found, token = [], None
    with explained(uri):
        while token != "":
            page = client.search_model_versions(f"name = '{model}'", page_token=token)
            found += page
            token = page.token or ""
    return found


def require_own(found: "RegisteredModel", uri: str, mine: str) -> None:
    """Raises UsageError when the model is another ledger's."""
    owner = found.tags.get(TAG, mine)
    if owner != mine:
        raise UsageError(
            f"the model {found.name} in MLflow at {without_credentials(uri)} belongs to the ledger {owner[:12]}, "
            f"this home's ledger is {mine[:12]}",
            "set another `name` under [model] in nightshift.toml, or NIGHTSHIFT_LEDGER_URL to that ledger; "
            f"if that ledger is gone for good, delete the model's tag {TAG} in MLflow",
        )


def _make(client: "MlflowClient", uri: str, model: str, mine: str) -> "RegisteredModel":
    """The model, made with our tag in one transaction, or the one that another home has made meanwhile."""
    from mlflow.exceptions import MlflowException

    with explained(uri):
        try:
            return client.create_registered_model(model, tags={TAG: mine}, description=_ABOUT)
        except MlflowException as error:
            if error.error_code != _TAKEN:
                raise
            return client.get_registered_model(model)


def _require_fit(found: "RegisteredModel", entries: Sequence[Promotion], versions: Sequence["ModelVersion"]) -> None:
    """Raises IntegrityError unless the model's champions, which have no owner yet, may be this ledger's."""
    promoted = {entry.to_version: entry.adapter_sha256 for entry in entries if entry.to_version != BASE}
    adapters = {int(version.version): version.tags.get("adapter_sha256") for version in versions}
    # A version that is absent proves nothing: somebody may have deleted it.
    strange = {version for version, sha256 in promoted.items() if adapters.get(version, sha256) != sha256}
    champion = found.aliases.get(CHAMPION)
    if champion is not None and int(champion) not in promoted:
        strange.add(int(champion))
    if strange:
        raise IntegrityError(
            f"version {min(strange)} of the model {found.name} in MLflow is not the one that this home's ledger "
            "promoted: another home's ledger did",
            "set another `name` under [model] in nightshift.toml, or NIGHTSHIFT_LEDGER_URL to that ledger",
        )
