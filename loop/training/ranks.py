"""Processes of one training, usually one: the division of work among them, and how their adapters stay the same.

torchrun starts them. In a process that it has not started, every function returns what a single process needs.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import distributed, nn

T = TypeVar("T")


def count() -> int:
    """Number of processes in this training."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def sharing(device: torch.device) -> int:
    """Number of processes that share one memory; on GPUs each has its own."""
    return 1 if device.type == "cuda" else count()


def rank() -> int:
    """Number of this process among them, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def join(device: str) -> None:
    """Meet the other processes that torchrun has started, each on a GPU of its own where there are GPUs."""
    if device == "cuda":
        torch.cuda.set_device(distributed.get_node_local_rank())
    distributed.init_process_group("nccl" if device == "cuda" else "gloo")


def share(work: Sequence[T], costs: Sequence[int]) -> list[T]:
    """This process's part of `work`: the costliest first, each to the process with the least so far.

    Every process computes the whole division, and so the same one, without asking the others.
    """
    loads = [0] * count()
    mine = []
    for index in sorted(range(len(work)), key=lambda index: -costs[index]):
        taker = loads.index(min(loads))
        loads[taker] += costs[index]
        if taker == rank():
            mine.append(work[index])
    return mine


def turns(work: Sequence[T], filler: T, *, together: bool) -> list[tuple[T, bool]]:
    """`work`, each marked True, then fillers, marked False, until every process has the same number of turns.

    Fillers are added only where all processes have to compute `together`: sharded weights are gathered from all of
    them, and a process without work would leave the others waiting.
    """
    missing = max(everyones(len(work))) - len(work) if together else 0
    own = [(each, True) for each in work]
    fillers = [(filler, False)] * missing
    return own + fillers


def wait() -> None:
    """Return when every process has come here."""
    if count() > 1:
        distributed.barrier()


def everyones(value: T) -> list[T]:
    """The values that all processes pass, in the order of the processes."""
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
    # A process that had no pass of this batch has no gradients, and still has to take part in the sum.
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    # As one vector: one exchange instead of one for each parameter.
    together = nn.utils.parameters_to_vector(gradients)
    distributed.all_reduce(together)
    for parameter, gradient in zip(trained, torch.split(together, [p.numel() for p in trained]), strict=True):
        parameter.grad = gradient.view_as(parameter)
