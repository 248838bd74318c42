"""Language model: a base with its tokenizer and, in all versions but 0, an adapter, to answer and to score answers."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from loop.errors import NotFoundError
from loop.hashing import adapter_sha256, sha256_of
from loop.models.base import load_base
from loop.models.chat import end_of_turn, fit, prompt_ids, response_ids
from loop.models.decode import decode, score
from loop.models.fingerprints import fingerprint
from loop.models.precision import compute_dtype
from loop.models.quiet import quiet
from loop.models.reading import readable
from loop.models.stream import draws, pieces
from loop.ports import Generation
from loop.types import Message, Sampling

ARITHMETIC = 2
"""Version of the arithmetic: raised when the same weights come to other numbers, so that no cache mixes both."""
SCORED_TOKENS = 8_192
"""Largest number of padded tokens that are scored together."""
CACHED_TOKENS = 65_536
"""Largest number of padded tokens, of prompts and answers, whose keys and values are held: 1.5 GB for SmolLM2-135M."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Base:
    """A base model and its tokenizer, shared by all models of that base and changed by none."""

    tokenizer: PreTrainedTokenizerBase
    model: PreTrainedModel


_IN_USE: WeakValueDictionary[str, Base] = WeakValueDictionary()
"""Base models by fingerprint, dtype and device, for as long as a language model holds them."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A loaded model. Implements `Generator`."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    """sha256 (hex) over base, adapter, dtype, device and arithmetic; caches of answers are keyed by it."""
    device: str
    batch: int
    """Largest number of prompts generated together."""
    base: Base
    """The base, held here so that later models of it find it in use."""

    def generate(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> list[Generation]:
        """One answer per prompt, in order; the same seed gives the same answers, without a seed they are fresh.

        A prompt that leaves no room for `max_tokens` loses whole turns from the left, and one still too long loses its
        first tokens. A generation's token ids include the end of turn, its text does not.
        """
        rows = [self._prompt(prompt, sampling.max_tokens) for prompt in prompts]
        uniforms = _uniforms(len(rows), sampling).to(self.device)
        stop, pad = torch.tensor(self._stops(), device=self.device), self._pad()
        answers: dict[int, Generation] = {}
        for chosen in _batches([len(row) + sampling.max_tokens for row in rows], self.batch, CACHED_TOKENS):
            ids = [rows[i] for i in chosen]
            drawn = decode(self.model, ids, sampling, uniforms=uniforms[chosen], pad=pad, stop=stop)
            for i, (tokens, logprobs) in zip(chosen, drawn, strict=True):
                answers[i] = Generation(self._text(tokens), tokens, logprobs)
        return [answers[i] for i in range(len(rows))]

    def stream(self, prompt: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        """The answer that `generate` gives to one prompt alone, in pieces as it is drawn."""
        uniforms = _uniforms(1, sampling).to(self.device)
        ids = self._prompt(prompt, sampling.max_tokens)
        drawn = draws(self.model, ids, sampling, uniforms=uniforms, pad=self._pad(), stop=self._stops())
        return pieces(drawn, self._text, by_words=bool(getattr(self.tokenizer, "clean_up_tokenization_spaces", False)))

    def score(self, pairs: Sequence[tuple[Sequence[Message], Message]]) -> list[float]:
        """Log-probability in nats of each response, end of turn included, after its prompt; in order.

        Over-long prompts are shortened as in `generate`.
        """
        answers = [response_ids(self.tokenizer, response) for _, response in pairs]
        rows = [(self._prompt(pair[0], len(ids)), ids) for pair, ids in zip(pairs, answers, strict=True)]
        sums: dict[int, float] = {}
        for chosen in _batches([len(prompt) + len(ids) for prompt, ids in rows], self.batch, SCORED_TOKENS):
            scored = score(self.model, [rows[i] for i in chosen], self._pad())
            sums.update(zip(chosen, scored, strict=True))
        return [sums[i] for i in range(len(rows))]

    def _prompt(self, messages: Sequence[Message], room: int) -> list[int]:
        """Token ids of a prompt, shortened to leave room for so many tokens; at least one token stays."""
        limit = max(1, self.model.config.max_position_embeddings - room)
        ids = prompt_ids(self.tokenizer, messages)
        if len(ids) > limit:
            ids = prompt_ids(self.tokenizer, fit(self.tokenizer, messages, limit))
        return ids[-limit:]

    def _stops(self) -> list[int]:
        """Tokens that end an answer: the model's own, and the end of turn that training teaches."""
        listed = self.model.generation_config.eos_token_id
        eos = listed if isinstance(listed, list) else [listed] if listed is not None else []
        return sorted(set(eos) | {end_of_turn(self.tokenizer)})

    def _pad(self) -> int:
        return int(self.tokenizer.pad_token_id or 0)

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def _uniforms(rows: int, sampling: Sampling) -> torch.Tensor:
    """Random numbers that decide every draw [rows, max_tokens]; the first row is the same for any number of rows."""
    # On the CPU whatever the device, so that a seed means the same numbers everywhere.
    source = torch.Generator()
    source.manual_seed(sampling.seed) if sampling.seed is not None else source.seed()
    return torch.rand(rows, sampling.max_tokens, generator=source, dtype=torch.float64)


def load(folder: Path, *, dtype: str = "bfloat16", adapter: Path | None = None, batch: int = 32) -> LanguageModel:
    """The model of a folder, under the adapter of another, on the first GPU or the CPU.

    The caller has verified the adapter's sha256; only safetensors are read. While a model of the same base is in use,
    its weights are not read a second time. Raises UsageError for a folder without a model that transformers can load.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    held = compute_dtype(dtype, device)
    with quiet():
        base = _base(folder, held, device)
        model = base.model
        if adapter is not None:
            from loop.models.adapted import adapt

            # In bfloat16 the adapter stays apart: merging would round it away.
            model = adapt(base.model, adapter, merge=held is torch.float32)
    identity = f"{fingerprint(folder)} {adapter and adapter_sha256(adapter)} {held} {device} {ARITHMETIC}"
    sha256 = sha256_of(identity)
    return LanguageModel(model.to(device).eval(), base.tokenizer, sha256, device, batch, base)


def _base(folder: Path, dtype: torch.dtype, device: str) -> Base:
    """The base of a folder: the one in use, else read anew."""
    key = None
    with suppress(NotFoundError):  # reading what is no model says why
        key = f"{fingerprint(folder)} {dtype} {device}"
    known = _IN_USE.get(key) if key else None
    if known is not None:
        return known
    with readable(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    base = Base(tokenizer, load_base(folder, dtype).to(device).eval())
    if key:
        _IN_USE[key] = base
    return base


def _batches(lengths: Sequence[int], rows: int, tokens: int) -> Iterator[list[int]]:
    """Indices by falling length, at most `rows` and `tokens` padded tokens together; a longer one stands alone."""
    # Neighbours in length are padded least; the longest of a batch is its first.
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    while order:
        fitting = min(rows, max(1, tokens // lengths[order[0]]))
        yield order[:fitting]
        order = order[fitting:]
