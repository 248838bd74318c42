"""Mean of the adapter over the last steps: the adapter that a training leaves.

While the learning rate is high enough to teach, every batch pulls the adapter to another side of the optimum; the mean
of its latest positions lies nearer to the optimum than the last one. Uniform average of the latest weights: Kaddour
2022 (LAWA, arXiv 2209.14981).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from loop.training.weights.adapters import put, trainable


@dataclass(slots=True)
class Average:
    """Running mean of an adapter, in which each step counts the same; empty before the first."""

    steps: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)
    """Mean of each parameter, named as in `trainable`."""

    def add(self, model: nn.Module) -> None:
        """Add the adapter as it is now to the mean."""
        self.steps += 1
        for name, parameter in trainable(model).items():
            mean = self.weights.setdefault(name, parameter.detach().clone())
            mean.lerp_(parameter.detach(), 1 / self.steps)

    def put_into(self, model: nn.Module) -> None:
        """Set the adapter to the mean, if there is one."""
        if self.steps:
            put(model, self.weights)

    def recall(self, kept: Mapping[str, Any], model: nn.Module) -> None:
        """Continue with the fields of a checkpoint's average, which are named as in this class."""
        # Checkpoints of version 0.1 kept none.
        self.steps = kept.get("steps", 0)
        placed = trainable(model)
        self.weights = {name: mean.to(placed[name].device) for name, mean in kept.get("weights", {}).items()}
