"""Base model (folder, hub name or GGUF) + adapter + tokenizer: find, load, generate, score, fingerprint."""

from loop.hashing import adapter_sha256
from loop.models.base import load_base
from loop.models.chat import fit, prompt_ids, response_ids
from loop.models.fingerprints import fingerprint
from loop.models.folders import find
from loop.models.language import LanguageModel, load
from loop.models.precision import native_bfloat16
from loop.models.reading import readable

__all__ = [
    "LanguageModel",
    "adapter_sha256",
    "find",
    "fingerprint",
    "fit",
    "load",
    "load_base",
    "native_bfloat16",
    "prompt_ids",
    "readable",
    "response_ids",
]
