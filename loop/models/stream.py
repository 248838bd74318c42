"""One answer as it is drawn: its tokens one by one, and its text in pieces that end in no character's middle."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from loop.models.decode import draw
from loop.models.rows import Ids, begin
from loop.types import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What tokenizers show for the first bytes of a character whose last ones are in a later token."""


@torch.inference_mode()
def draws(
    model: "PreTrainedModel", prompt: Ids, sampling: Sampling, *, uniforms: Tensor, pad: int, stop: Collection[int]
) -> Iterator[int]:
    """The tokens that `decode` draws for this prompt alone, the one of `stop` that ends them included.

    `uniforms` [1, max_tokens] in [0, 1) decides every draw.
    """
    row = begin(model, [prompt], pad, sampling.max_tokens)
    for step in range(sampling.max_tokens):
        drawn, _ = draw(row.logits, sampling, uniforms[:, step])
        yield int(drawn)
        if int(drawn) in stop or step + 1 == sampling.max_tokens:
            return
        row.feed(model, drawn)


def pieces(tokens: Iterable[int], text: Callable[[Sequence[int]], str], *, by_words: bool) -> Iterator[str]:
    """What `text` makes of all tokens, in pieces: each is what no later token can change.

    `by_words` is for tokenizers that take spaces before punctuation away, so that the last word is not sure yet.
    """
    ids: list[int] = []
    shown = 0
    for token in tokens:
        ids.append(token)
        sure = text(ids).rstrip(UNFINISHED)
        if by_words:
            sure = sure[: len(sure) - len(sure.split(" ")[-1])].rstrip(" ")
        if len(sure) > shown:
            yield sure[shown:]
            shown = len(sure)
    if rest := text(ids)[shown:]:
        yield rest
