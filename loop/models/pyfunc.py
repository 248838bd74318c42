"""MLflow flavour of a registered version, loaded and served in an environment where Nightshift is not installed.

`register` puts a copy of this module, and of what it imports, beside the adapter.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from loop.errors import NightshiftError, NotFoundError, UsageError
from loop.hashing import require_adapter
from loop.ports import Generator
from loop.types import Message, Role, Sampling, ToolCall

BASE_VARIABLE = "NIGHTSHIFT_BASE_MODEL"
"""Environment variable that names the base model on this machine: a folder, a GGUF file or a hub name."""
HOW_TO_ASK = 'give a column `messages`, [{"role": "user", "content": "..."}], or a column `prompt`, "..."'


def _load_pyfunc(folder: str, model_config: Mapping[str, str]) -> "ServedVersion":
    """Load a version, as MLflow calls it, from the folder of its files and the `config` of its MLmodel file.

    Raises IntegrityError for an altered adapter, NotFoundError and UsageError where the base model is not the one that
    the adapter was trained on.
    """
    from loop.models.language import load

    what, remedy = f"the version in {folder}", "fetch it again, or restore it from the registry's backup"
    adapter = require_adapter(Path(folder), model_config["adapter_sha256"], what, remedy)
    return ServedVersion(load(_base(model_config), dtype=model_config["dtype"], adapter=adapter))


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A version served by MLflow: messages in, text out."""

    model: Generator

    def predict(self, asked: Any, params: Mapping[str, Any] | None = None) -> list[str]:  # noqa: ANN401 - MLflow's
        """One answer per row of a data frame, a dictionary or a list of dictionaries; greedy unless `params` say so.

        Raises UsageError for a row that has neither `messages` nor `prompt`.
        """
        prompts = [_conversation(row) for row in _rows(asked)]
        if not prompts:
            raise UsageError("there is nothing to answer", HOW_TO_ASK)
        return [answer.text for answer in self.model.generate(prompts, Sampling(**(params or {})))]


def _base(config: Mapping[str, str]) -> Path:
    """Folder of the base model on which the version was trained."""
    from loop.models.fingerprints import fingerprint
    from loop.models.folders import find

    named = os.environ.get(BASE_VARIABLE) or config["base"]
    remedy = f"set {BASE_VARIABLE} to the folder, GGUF file or hub name of {config['base']} on this machine"
    try:
        folder = find(named, _cache())
    except NightshiftError as error:
        raise NotFoundError(f"the base model {named} of this version cannot be had: {error.what}", remedy) from error
    # An adapter on another base model, or another revision of it, would answer without an error.
    if fingerprint(folder) != config["base_fingerprint"]:
        expected = config["base_fingerprint"][:12]
        raise UsageError(f"{folder} is not the base model of this version, whose fingerprint is {expected}...", remedy)
    return folder


def _cache() -> Path:
    """Folder in which an installed Nightshift keeps converted base models too."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightshift"
    return Path(os.environ.get("NIGHTSHIFT_CACHE") or users) / "models"


def _rows(asked: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401
    if hasattr(asked, "to_dict"):  # a pandas data frame
        rows: list[Mapping[str, Any]] = asked.to_dict("records")
        return rows
    return [asked] if isinstance(asked, Mapping) else list(asked)


def _conversation(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Conversation that one row asks about. Raises UsageError where it has none."""
    # Types are checked, since a column that only other rows of a data frame have is None or NaN here.
    messages, prompt = row.get("messages"), row.get("prompt")
    if isinstance(messages, Iterable) and not isinstance(messages, str):
        return tuple(_message(message) for message in messages)
    if isinstance(prompt, str):
        return (Message("user", prompt),)
    raise UsageError("a row asks nothing", HOW_TO_ASK)


def _message(given: Mapping[str, Any]) -> Message:
    """A message from one in OpenAI's shape. Raises UsageError for an unknown role."""
    role: Any = given.get("role")
    if role not in get_args(Role):
        raise UsageError(f"a message has the role {role!r}", f"use one of {', '.join(get_args(Role))}")
    calls = tuple(
        ToolCall(call_id=call["id"], name=call["function"]["name"], arguments=call["function"]["arguments"])
        for call in given.get("tool_calls") or ()
    )
    return Message(role, given.get("content") or "", calls, given.get("tool_call_id"))
