"""One answer as it is drawn: its tokens one by one, and its text in pieces that end in no character's middle."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from loop.models.decode import draw
from loop.models.rows import Ids, left_padded
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
    cache = DynamicCache(config=model.config)
    ids, mask, positions = left_padded([prompt], pad, model.device)
    for step in range(sampling.max_tokens):
        output = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        drawn, _ = draw(output.logits[:, -1].float(), sampling, uniforms[:, step])
        yield int(drawn)
        if int(drawn) in stop:
            return
        ids, positions = drawn[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)


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
