"""Models: a base model (folder, hub name or GGUF), adapter and tokenizer; find, load, generate, score, fingerprint.

Functions that find and name a model are imported at once and need no torch; those that load one are imported when they
are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from loop.hashing import adapter_sha256
from loop.models.chat import fit, prompt_ids, response_ids
from loop.models.fingerprints import fingerprint
from loop.models.folders import find
from loop.models.libraries import importing, require_torch
from loop.models.precision import native_bfloat16

if TYPE_CHECKING:
    from loop.models.base import load_base
    from loop.models.language import LanguageModel, load
    from loop.models.reading import readable

__all__ = [
    "LanguageModel",
    "adapter_sha256",
    "find",
    "fingerprint",
    "fit",
    "importing",
    "load",
    "load_base",
    "native_bfloat16",
    "prompt_ids",
    "readable",
    "require_torch",
    "response_ids",
]

_HEAVY = {
    "LanguageModel": "loop.models.language",
    "load": "loop.models.language",
    "load_base": "loop.models.base",
    "readable": "loop.models.reading",
}
"""Modules of the names that need torch and transformers."""


def __getattr__(name: str) -> object:
    """Import a name that needs torch (PEP 562). Raises UsageError where torch is absent."""
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with importing():
        return getattr(import_module(_HEAVY[name]), name)
