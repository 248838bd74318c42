"""The processes of one training, of which there is usually one: who computes what, and how they stay the same.

They are torchrun's; alone, every function is what one process needs.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")


def count() -> int:
    """Processes in this training."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """This process among them, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def join(device: str) -> None:
    """Meet the other processes that torchrun has started, each on a GPU of its own where there are GPUs."""
    if device == "cuda":
        torch.cuda.set_device(distributed.get_node_local_rank())
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")


def share(work: Sequence[T], costs: Sequence[int]) -> list[T]:
    """What of `work` falls to this process: the costliest first, each to whom has least."""
    loads = [0] * count()
    mine = []
    for index in sorted(range(len(work)), key=lambda index: -costs[index]):
        taker = loads.index(min(loads))
        loads[taker] += costs[index]
        if taker == rank():
            mine.append(work[index])
    return mine


def turns(work: Sequence[T], filler: T, *, together: bool) -> list[tuple[T, bool]]:
    """`work`, marked True, and fillers until every process has as many turns, where all have to compute `together`."""
    missing = max(everyones(len(work))) - len(work) if together else 0
    return [*((each, True) for each in work), *[(filler, False)] * missing]


def wait() -> None:
    """Until every process has come here."""
    if count() > 1:
        distributed.barrier()


def everyones(value: T) -> list[T]:
    """What every process brings, in their order."""
    if count() == 1:
        return [value]
    found: list[T] = [value] * count()
    distributed.all_gather_object(found, value)
    return found


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the sum of all their gradients."""
    if count() == 1:
        return
    trained = list(parameters)
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    together = nn.utils.parameters_to_vector(gradients)
    distributed.all_reduce(together)
    for parameter, gradient in zip(trained, torch.split(together, [p.numel() for p in trained]), strict=True):
        parameter.grad = gradient.view_as(parameter)
