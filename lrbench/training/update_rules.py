"""How the weights of a parameter group learn, as a row of scalars for each step and an update.

The host computes the scalars, which lie in a table on the device. The update reads a row of it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from lrbench.training.optimizers import factor_at
from lrbench.training.weight_vector import WeightVector

NEWTON_SCHULZ = (
    3.4445,
    -4.775,
    2.0315,
)  # coefficients of Muon's polynomial (https://kellerjordan.github.io/posts/muon)


@dataclass(frozen=True)
class Counters:
    """What the rows of a parameter group depend on, besides the schedule.

    `steps` have been made. `weight_sum` and `highest_rate` belong to Schedule-Free.
    """

    steps: int = 0
    weight_sum: float = 0.0
    highest_rate: float = 0.0

    def next(self) -> "Counters":
        """Return the counters after one more step."""
        return replace(self, steps=self.steps + 1)


class Rule(ABC):
    """How the weights of a parameter group learn.

    `width` is the number of scalars in a row. `buffers` are the names of its vectors, one value per
    weight.
    """

    width: ClassVar[int]
    buffers: ClassVar[tuple[str, ...]]

    def __init__(self, group: Mapping[str, Any]) -> None:
        self._group, self.weight_decay = group, float(group["weight_decay"])

    def factor(self, progress: float) -> float:
        """Return the factor of the scheduled learning rate after a fraction of the run."""
        return factor_at(self._group, progress)

    def kind(self) -> str:
        """Return what two rules must share to use one CUDA graph."""
        return type(self).__name__

    @abstractmethod
    def row(self, rate: float, momentum: float | None, counters: Counters) -> tuple[list[float], Counters]:
        """Return the scalars of the next step, and the counters after it.

        `rate` is the group's learning rate. `momentum` is None if the schedule does not set it.
        """

    @abstractmethod
    def update(self, group: WeightVector, gradient: Tensor, scalars: Sequence[Tensor]) -> None:
        """Update the weights. `scalars` has the row as tensors () on the device."""


class SGD(Rule):
    """SGD with momentum, as torch.optim.SGD."""

    width = 3
    buffers = ("momentum",)

    def __init__(self, group: Mapping[str, Any], *, momentum: float = 0.0, nesterov: bool = False) -> None:
        super().__init__(group)
        self.momentum, self.nesterov = momentum, nesterov

    def kind(self) -> str:
        return f"{type(self).__name__} nesterov={self.nesterov}"

    def row(self, rate: float, momentum: float | None, counters: Counters) -> tuple[list[float], Counters]:
        return [-rate, self.momentum if momentum is None else momentum, self.weight_decay], counters.next()

    def update(self, group: WeightVector, gradient: Tensor, scalars: Sequence[Tensor]) -> None:
        minus_rate, momentum, weight_decay = scalars
        buffer = group.buffers["momentum"]
        gradient = torch.addcmul(gradient, group.weights, weight_decay)
        buffer.mul_(momentum).add_(gradient)
        direction = torch.addcmul(gradient, buffer, momentum) if self.nesterov else buffer
        group.weights.addcmul_(direction, minus_rate)


class AdamW(Rule):
    """AdamW, as torch.optim.AdamW."""

    width = 6
    buffers = ("mean", "square")

    def __init__(self, group: Mapping[str, Any], *, betas: Sequence[float] = (0.9, 0.999), eps: float = 1e-8) -> None:
        super().__init__(group)
        self.betas, self.eps = betas, eps

    def row(self, rate: float, momentum: float | None, counters: Counters) -> tuple[list[float], Counters]:
        steps = counters.steps + 1
        beta1, beta2 = self.betas[0] if momentum is None else momentum, self.betas[1]
        step_size = rate / (1 - beta1**steps)
        # The root of the bias correction multiplies eps, which saves a division per weight.
        root = math.sqrt(1 - beta2**steps)
        row = [1 - rate * self.weight_decay, 1 - beta1, beta2, 1 - beta2, self.eps * root, -step_size * root]
        return row, counters.next()

    def update(self, group: WeightVector, gradient: Tensor, scalars: Sequence[Tensor]) -> None:
        keep, one_minus_beta1, beta2, one_minus_beta2, eps, minus_step = scalars
        mean, square = group.buffers["mean"], group.buffers["square"]
        group.weights.mul_(keep)
        mean.lerp_(gradient, one_minus_beta1)
        square.mul_(beta2).addcmul_(gradient * gradient, one_minus_beta2)
        group.weights.addcmul_(mean / (square.sqrt() + eps), minus_step)


class Muon(Rule):
    """Muon, as torch.optim.Muon with its default settings."""

    width = 3
    buffers = ("momentum",)

    def __init__(self, group: Mapping[str, Any], *, momentum: float = 0.95, nesterov: bool = True) -> None:
        super().__init__(group)
        self.momentum, self.nesterov = momentum, nesterov

    def kind(self) -> str:
        return f"{type(self).__name__} nesterov={self.nesterov}"

    def row(self, rate: float, momentum: float | None, counters: Counters) -> tuple[list[float], Counters]:
        momentum = self.momentum if momentum is None else momentum
        return [1 - rate * self.weight_decay, momentum, -rate], counters.next()

    def update(self, group: WeightVector, gradient: Tensor, scalars: Sequence[Tensor]) -> None:
        keep, momentum, minus_rate = scalars
        buffer = group.buffers["momentum"]
        buffer.lerp_(gradient, 1 - momentum)
        direction = torch.lerp(gradient, buffer, momentum) if self.nesterov else buffer
        updates = [
            _orthogonalized(matrix) * math.sqrt(max(1, matrix.shape[0] / matrix.shape[1]))
            for matrix in group.shaped(direction)
        ]
        group.weights.mul_(keep).addcmul_(torch.cat([update.reshape(-1) for update in updates]), minus_rate)


def _orthogonalized(matrix: Tensor, steps: int = 5, eps: float = 1e-7) -> Tensor:
    """Return a matrix with about the same singular vectors, and singular values near 1.

    It applies a polynomial of odd degree to the singular values, in bfloat16.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16()
    wide = x.T if x.shape[0] > x.shape[1] else x
    wide = wide / wide.norm().clamp(min=eps)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return (wide.T if x.shape[0] > x.shape[1] else wide).float()


class ScheduleFreeSGD(Rule):
    """Schedule-Free SGD (https://arxiv.org/abs/2405.15682), as the package schedulefree.

    The weights are the point y of the gradient, and `newest` is the point z.
    """

    width = 4
    buffers: ClassVar[tuple[str, ...]] = ("newest",)

    def __init__(self, group: Mapping[str, Any], *, beta: float, average_power: float, rate_power: float) -> None:
        super().__init__(group)
        self.beta, self.average_power, self.rate_power = beta, average_power, rate_power

    def row(self, rate: float, momentum: float | None, counters: Counters) -> tuple[list[float], Counters]:
        highest = max(rate, counters.highest_rate)
        weight = (counters.steps + 1) ** self.average_power * highest**self.rate_power
        total = counters.weight_sum + weight
        share = weight / total if total else 0.0  # of the newest point in the average
        row = [self.weight_decay, share, rate * (self.beta * (1 - share) - 1), -rate]
        return row, Counters(counters.steps + 1, total, highest)

    def update(self, group: WeightVector, gradient: Tensor, scalars: Sequence[Tensor]) -> None:
        weight_decay, share, y_factor, minus_rate = scalars
        newest = group.buffers["newest"]
        gradient = torch.addcmul(gradient, group.weights, weight_decay)
        group.weights.lerp_(newest, share).addcmul_(gradient, y_factor)
        newest.addcmul_(gradient, minus_rate)


class ScheduleFreeAdamW(ScheduleFreeSGD):
    """Schedule-Free AdamW."""

    width = 8
    buffers = ("newest", "square")

    def __init__(self, group: Mapping[str, Any], *, beta2: float, eps: float, **schedule_free: float) -> None:
        super().__init__(group, **schedule_free)
        self.beta2, self.eps = beta2, eps

    def row(self, rate: float, momentum: float | None, counters: Counters) -> tuple[list[float], Counters]:
        row, after = super().row(rate, momentum, counters)
        root = math.sqrt(1 - self.beta2**after.steps)
        return [*row, self.beta2, 1 - self.beta2, self.eps * root, root], after

    def update(self, group: WeightVector, gradient: Tensor, scalars: Sequence[Tensor]) -> None:
        beta2, one_minus_beta2, eps, root = scalars[4:]
        square = group.buffers["square"]
        square.mul_(beta2).addcmul_(gradient * gradient, one_minus_beta2)
        super().update(group, gradient * root / (square.sqrt() + eps), scalars[:4])
