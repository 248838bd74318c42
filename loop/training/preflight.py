"""Size of a forward pass in tokens, measured before one runs out of memory.

It follows from the model, the data and the installed memory. The memory that happens to be free when a training begins
does not count here: passes of another size round differently, and so would make another adapter.
"""

import logging

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed.tensor import DTensor

from loop import memory
from loop.errors import TrainingError
from loop.machine import Machine
from loop.memory import Memory
from loop.ports import Progress
from loop.training import ranks
from loop.training.batch.tokens import Encoded, Encoding
from loop.training.forward.logps import Scorer, score
from loop.training.waiting import await_memory
from loop.training.weights.activations import all_kept, checkpoint_activations, checkpointed
from loop.training.weights.adapters import trainable

_LOG = logging.getLogger(__name__)
SHARE = {"cpu": 1 / 8, "cuda": 1 / 2}
"""Share of the installed memory beside the model that an automatic pass may keep until its backward.

An eighth leaves room for neighbours and is as fast on a CPU: 1 GiB of 8 are 1,900 tokens of SmolLM2-135M, and passes of
400 to 4,000 took the same time. A GPU is seldom shared and wants large passes.
"""
LARGEST_SHARE = 1 / 2
"""The same share for an example that stands alone and for a size that was asked for; the rest is for temporaries."""
LARGEST_WEIGHTS = 3 / 4
"""Largest share of a process's memory that whole frozen weights may take; the rest is for adapter and activations."""
SMALLEST, LARGEST = 256, {"cpu": 8_192, "cuda": 65_536}
"""Bounds of an automatic pass, in tokens; larger passes are no faster."""
HEAVIEST_STEPS = 32
"""Number of steps whose passes are laid out to find the largest; thousands of steps would take minutes."""
COPIES = 7
"""Copies of the adapter beside the one in training: its gradient, AdamW's two moments, the champion's, the mean of the
last steps, the one set aside while the champion's is in its place, and one to spare."""


def make_room(
    rows: Scorer, probe: Encoded, largest: Encoded, machine: Machine, read: Memory, progress: Progress
) -> None:
    """Wait for the memory of a pass over `largest`.

    Layers are computed again in backward where `machine` says so, or where `largest` would not fit otherwise. `rows`
    has the layout that takes most memory, a row for each answer: what fits in rows can be tried in every layout.
    Raises TrainingError, with the figures, when `largest` does not fit at all, LowMemoryError when memory stays taken.
    """
    again = machine.activation_checkpoints
    if again is None:
        # One process's answer holds for all: they compute the same passes.
        again = not all(ranks.everyones(has_room(rows, probe, largest, read)))
        if again:
            _LOG.warning(
                "each layer is computed again in backward, which takes longer: the longest example (%s tokens) would "
                "not fit into memory otherwise",
                f"{largest.size:,}",
            )
    if again:
        checkpoint_activations(rows.model)
    require_room(rows, probe, largest, read)
    need = needed(rows, probe, rows.size([largest]))
    await_memory(need, "the adapter and the longest example", rows.device, read, progress)


def budget(scorer: Scorer, probe: Encoded, largest: Encoded, read: Memory, wanted: int = 0) -> int:
    """Tokens of a pass, no more than fit: `wanted`, or a power of two where that is 0.

    `probe` is scored once to measure the bytes of a token. The log says when fewer tokens fit than are wanted; the
    gradient of a batch is the same then, in more passes. Raises TrainingError, with the figures, when `largest` alone
    would not fit.
    """
    each = bytes_per_token(scorer, probe)
    left = _left(scorer, read)
    _require(largest.size, each, LARGEST_SHARE * left)
    if not wanted:
        kind = scorer.model.device.type
        fitting = min(max(int(SHARE[kind] * left / each), SMALLEST), LARGEST[kind])
        return 1 << (fitting.bit_length() - 1)
    fitting = int(LARGEST_SHARE * left / each)
    if wanted > fitting:
        said = "passes are lowered to %s tokens: one of %s %s"
        _LOG.warning(said, f"{fitting:,}", f"{wanted:,}", _needs(wanted, each, LARGEST_SHARE * left))
    return min(wanted, fitting)


def await_passes(
    scorer: Scorer, encoding: Encoding, steps: list[list[int]], pass_tokens: int, read: Memory, progress: Progress
) -> None:
    """Wait for the memory of the largest pass of the heaviest `steps`, at least that of the largest example.

    Raises LowMemoryError when memory stays taken.
    """
    examples, (probe, largest) = encoding.examples, encoding.probes
    by_weight = sorted(steps, key=lambda step: sum(examples[index].size for index in step))
    # The largest example too: a budget of tokens may have left it out of all steps.
    sizes = [scorer.size([largest])]
    for step in by_weight[-HEAVIEST_STEPS:]:
        batch = [examples[index] for index in step]
        groups = scorer.passes(batch, pass_tokens)
        sizes.extend(scorer.size([batch[index] for index in group]) for group in groups)
    tokens = max(sizes)
    need = needed(scorer, probe, tokens)
    await_memory(need, f"the adapter and passes of {tokens:,} tokens", scorer.device, read, progress)


def require_room(rows: Scorer, probe: Encoded, largest: Encoded, read: Memory) -> None:
    """Raises TrainingError, with the figures, when `largest` would not fit.

    `rows` has the layout that takes most, a row for each answer: this is called before a layout is chosen, which takes
    a pass over the largest example.
    """
    _require(rows.size([largest]), _bytes_per_padded(rows, probe), LARGEST_SHARE * _left(rows, read))


def fit_whole(weights: int, device: torch.device, read: Memory) -> bool:
    """Whether frozen weights of so many bytes leave a process room for the adapter and its passes."""
    return weights <= LARGEST_WEIGHTS * installed(device, read) / ranks.sharing(device)


def has_room(rows: Scorer, probe: Encoded, largest: Encoded, read: Memory) -> bool:
    """Whether `require_room` would pass: whether `largest` fits as things stand."""
    return _fitting(_bytes_per_padded(rows, probe), LARGEST_SHARE * _left(rows, read)) >= rows.size([largest])


def _bytes_per_padded(rows: Scorer, probe: Encoded) -> float:
    """Bytes that a pass in rows keeps for each of its tokens, padding counted."""
    # `probe.size` counts the prompt once, rows repeat it: bytes of the example's tokens become bytes of padded ones.
    return bytes_per_token(rows, probe) * probe.size / rows.size([probe])


def needed(scorer: Scorer, probe: Encoded, tokens: int) -> int:
    """Bytes that a training takes beside its weights where its largest pass has so many `tokens`.

    Temporaries of a pass take at most half of the bytes that it keeps (SmolLM2-135M: a third).
    """
    adapter = sum(parameter.nbytes for parameter in trainable(scorer.model).values())
    return COPIES * adapter + int(1.5 * tokens * bytes_per_token(scorer, probe))


def _left(scorer: Scorer, read: Memory) -> float:
    """Bytes of the installed memory that this process may use beside the model and copies of the adapter."""
    device = scorer.model.device
    adapter = sum(parameter.nbytes for parameter in trainable(scorer.model).values())
    return installed(device, read) / ranks.sharing(device) - _weights(scorer) - COPIES * adapter


def installed(device: torch.device, read: Memory) -> int:
    """Bytes of memory of the GPU, or of this machine as far as its control group allows."""
    if device.type == "cuda":
        whole: int = torch.cuda.mem_get_info(device)[1]
        return whole
    return memory.installed(read)


def _require(tokens: int, each: float, room: float) -> None:
    """Raises TrainingError when `tokens` of `each` bytes do not fit into `room` bytes."""
    fitting = _fitting(each, room)
    if tokens > fitting:
        lower = f"set `max_tokens` under [training] to {fitting:,} or less, or " if room > each else ""
        raise TrainingError(
            f"an example of {tokens:,} tokens {_needs(tokens, each, room)}",
            f"{lower}train where more memory is installed",
        )


def _fitting(each: float, room: float) -> int:
    """Number of tokens of `each` bytes that fit into `room` bytes; negative where there is no room at all."""
    return int(room / each)


def _needs(tokens: int, each: float, room: float) -> str:
    return (
        f"needs {tokens * each / 2**30:.2f} GiB for its activations ({each / 2**20:.2f} MiB a token), "
        f"{max(0.0, room) / 2**30:.2f} GiB may be used"
    )


def bytes_per_token(scorer: Scorer, example: Encoded) -> float:
    """Bytes that a pass keeps for its backward for each of its tokens, without the weights.

    With activation checkpoints these are the input of each layer and everything of one layer at a time.
    """
    layers = checkpointed(scorer.model)
    # Measured without checkpoints: their hooks would hide the tensors that a layer keeps.
    with all_kept(scorer.model):
        whole = _kept(scorer, example) / example.size
    if not layers:
        return whole
    inputs: int = len(layers) * scorer.model.config.hidden_size * scorer.model.dtype.itemsize
    return whole / len(layers) + inputs


def _kept(scorer: Scorer, example: Encoded) -> int:
    """Bytes of all tensors that a pass over `example` keeps for its backward, each storage once."""
    weights = {storage.data_ptr() for storage in _storages(scorer)}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> None:
        """Note the tensor's storage and keep nothing of its history.

        There is no backward through this pass; an operation that kept its own result would keep itself for ever.
        """
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage

    # The storages are held in `kept` until the end: a freed one's address could be taken by the next.
    with torch.enable_grad(), saved_tensors_hooks(keep, lambda nothing: nothing):
        score(scorer, [example])
    return sum(storage.nbytes() for place, storage in kept.items() if place not in weights)


def _weights(scorer: Scorer) -> int:
    """Bytes of the model with its adapter in this process; weights that layers share count once."""
    return sum({storage.data_ptr(): storage.nbytes() for storage in _storages(scorer)}.values())


def _storages(scorer: Scorer) -> list[torch.UntypedStorage]:
    """Storages of the model's parameters; of a sharded one (DTensor) only this process's part."""
    own = (each.to_local() if isinstance(each, DTensor) else each for each in scorer.model.parameters())
    return [parameter.untyped_storage() for parameter in own]
