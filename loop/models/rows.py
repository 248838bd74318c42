"""Rows of a batch before their first answer token: prompts through the model, keys and values kept in place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ids = Sequence[int]

PIECE_TOKENS = {"cpu": 512, "cuda": 16_384}
"""Padded prompt tokens that go through the model together: a layer's output for them stays in a processor's cache."""


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer [rows, heads, room, d], of which the first `length` columns are filled.

    A new token is written into the next column; transformers' own layer copies all columns for it.
    """

    def __init__(self, like: DynamicLayer, rows: int, room: int, length: int) -> None:
        super().__init__()
        self.lazy_initialization(like.keys, like.values)
        self.keys, self.values = (
            made.new_zeros(rows, made.shape[1], room, made.shape[3]) for made in (like.keys, like.values)
        )
        self.length = length

    def fill(self, rows: slice, made: DynamicLayer, common: int) -> None:
        """Copy the columns of a piece of the rows: the first `common` to the left, the others to the right."""
        # The gap between them is masked: every row ends in the last column, so that new tokens share one.
        for ours, theirs in ((self.keys, made.keys), (self.values, made.values)):
            ours[rows, :, :common] = theirs[:, :, :common]
            ours[rows, :, self.length - theirs.shape[2] + common : self.length] = theirs[:, :, common:]

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write the next columns and return all that are filled."""
        start, self.length = self.length, self.length + key_states.shape[2]
        self.keys[:, :, start : self.length] = key_states
        self.values[:, :, start : self.length] = value_states
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_seq_length(self) -> int:
        """Number of columns that are filled."""
        return self.length


@dataclass(slots=True)
class Rows:
    """A batch that waits for the next token of each row."""

    cache: Cache
    mask: Tensor
    """Attention mask [rows, columns], 0 where a row has no token."""
    last: Tensor
    """Position of each row's last token [rows, 1]."""
    logits: Tensor
    """Logits of each row's next token, float32 [rows, vocabulary]."""

    def feed(self, model: "PreTrainedModel", drawn: Tensor) -> None:
        """Append one token to each row [rows]."""
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(drawn), 1)], dim=1)
        self.last = self.last + 1
        self.logits = _next(model, drawn[:, None], self.mask, self.last, self.cache)

    def keep(self, chosen: Tensor) -> None:
        """Keep only the rows of these indices."""
        self.cache.batch_select_indices(chosen)
        self.mask, self.last = self.mask[chosen], self.last[chosen]


def begin(model: "PreTrainedModel", prompts: Sequence[Ids], pad: int, room: int) -> Rows:
    """The prompts after a pass through the model, with room for `room` answer tokens each.

    A common prefix of all prompts, a system prompt for example, goes through the model once, and the rests in pieces,
    which have similar lengths where the prompts come sorted by length.
    """
    empty = DynamicCache(config=model.config)
    # Layers that do not keep every column (a sliding window, a recurrent state) need all rows at once, without a gap.
    if any(type(layer) is not DynamicLayer for layer in empty.layers):
        ids, mask, positions = left_padded(prompts, pad, model.device)
        return Rows(empty, mask, positions[:, -1:], _next(model, ids, mask, positions, empty))
    common = _common(prompts)
    beginning = DynamicCache(config=model.config)
    if common:
        ids, mask, positions = left_padded([prompts[0][:common]], pad, model.device)
        _next(model, ids, mask, positions, beginning)
    return _in_pieces(model, [prompt[common:] for prompt in prompts], beginning, pad, room)


def _in_pieces(model: "PreTrainedModel", rests: Sequence[Ids], beginning: DynamicCache, pad: int, room: int) -> Rows:
    common = beginning.get_seq_length()
    length = common + max(map(len, rests))
    mask = torch.zeros(len(rests), length, dtype=torch.long, device=model.device)
    mask[:, :common] = 1
    last = torch.zeros_like(mask[:, :1])
    kept: list[RoomyLayer] = []
    logits = []
    for piece in pieces([len(rest) for rest in rests], PIECE_TOKENS[model.device.type]):
        ids, own, positions = left_padded(rests[piece], pad, model.device)
        mask[piece, length - own.shape[1] :] = own
        last[piece] = positions[:, -1:] + common
        seen = torch.cat([mask[piece, :common], own], dim=1)
        cache = _repeated(model, beginning, len(own))
        # In the cache of the piece its columns follow the common ones directly; only `fill` makes a gap.
        logits.append(_next(model, ids, seen, positions + common, cache))
        kept = kept or [RoomyLayer(layer, len(rests), length + room, length) for layer in cache.layers]
        for layer, made in zip(kept, cache.layers, strict=True):
            layer.fill(piece, made, common)
    return Rows(Cache(layers=kept), mask, last, torch.cat(logits))


def _repeated(model: "PreTrainedModel", beginning: DynamicCache, rows: int) -> DynamicCache:
    """A cache in which each of `rows` rows has the keys and values of the common beginning."""
    cache = DynamicCache(config=model.config)
    if beginning.get_seq_length():
        for layer, made in zip(cache.layers, beginning.layers, strict=True):
            keys = made.keys.expand(rows, -1, -1, -1)
            values = made.values.expand(rows, -1, -1, -1)
            layer.update(keys, values)
    return cache


def _next(model: "PreTrainedModel", ids: Tensor, mask: Tensor, positions: Tensor, cache: Cache) -> Tensor:
    """Logits after the last column, float32 [rows, vocabulary]; the cache grows."""
    output = model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1)
    logits: Tensor = output.logits[:, -1].float()
    return logits


def _common(prompts: Sequence[Ids]) -> int:
    """Length of the common prefix of all prompts; each keeps a token of its own, and a single prompt shares nothing."""
    if len(prompts) == 1:
        return 0
    # What the first and the last in sorted order share, all between them share.
    first, last = min(prompts, key=tuple), max(prompts, key=tuple)
    shortest = min(map(len, prompts))
    return next((i for i in range(shortest) if first[i] != last[i]), shortest - 1)


def pieces(lengths: Sequence[int], tokens: int) -> Iterator[slice]:
    """Slices of neighbours that have at most `tokens` padded tokens together; a longer one stands alone."""
    start = longest = 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if i > start and longest * (i + 1 - start) > tokens:
            yield slice(start, i)
            start, longest = i, length
    yield slice(start, len(lengths))


def left_padded(rows: Sequence[Ids], pad: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and positions [rows, longest]: every row ends in the last column."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)
