"""One answer as it is drawn: its tokens one by one, and its text in pieces that never end inside a character."""

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
"""Character that tokenizers show for the first bytes of one whose last bytes are in a later token."""


@torch.inference_mode()
def draws(
    model: "PreTrainedModel", prompt: Ids, sampling: Sampling, *, uniforms: Tensor, pad: int, stop: Collection[int]
) -> Iterator[int]:
    """The tokens that `decode` draws for this prompt alone, including the token of `stop` that ends them.

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
    """The text of all tokens in pieces, each of which no later token can change.

    `by_words` is for tokenizers that remove spaces before punctuation, so that the last word is not final yet.
    """
    ids: list[int] = []
    shown = 0
    for token in tokens:
        ids.append(token)
        # All tokens again each time: a token's text depends on those before it.
        sure = text(ids).rstrip(UNFINISHED)
        if by_words:
            sure = sure[: len(sure) - len(sure.split(" ")[-1])].rstrip(" ")
        if len(sure) > shown:
            yield sure[shown:]
            shown = len(sure)
    rest = text(ids)[shown:]
    if rest:
        yield rest
