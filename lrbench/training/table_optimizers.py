"""Optimizers as tables: the host computes the scalars of each step, and the device reads them.

A CUDA graph repeats its operations on the same memory. So each number that changes from step to
step, such as the learning rate or Adam's bias correction, is a value in a table on the device. The
optimizers of torch keep some of these numbers on the host.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lrbench.schedules.table import own_optimizer
from lrbench.spec import TrialSpec
from lrbench.training import muon
from lrbench.training.optimizers import factor_at, parameter_groups
from lrbench.training.schedule_free import groups_of

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
    def update(self, group: "WeightVector", gradient: Tensor, scalars: Sequence[Tensor]) -> None:
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

    def update(self, group: "WeightVector", gradient: Tensor, scalars: Sequence[Tensor]) -> None:
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

    def update(self, group: "WeightVector", gradient: Tensor, scalars: Sequence[Tensor]) -> None:
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

    def update(self, group: "WeightVector", gradient: Tensor, scalars: Sequence[Tensor]) -> None:
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

    def update(self, group: "WeightVector", gradient: Tensor, scalars: Sequence[Tensor]) -> None:
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

    def update(self, group: "WeightVector", gradient: Tensor, scalars: Sequence[Tensor]) -> None:
        beta2, one_minus_beta2, eps, root = scalars[4:]
        square = group.buffers["square"]
        square.mul_(beta2).addcmul_(gradient * gradient, one_minus_beta2)
        super().update(group, gradient * root / (square.sqrt() + eps), scalars[:4])


class WeightVector:
    """The weights of a parameter group as one vector, which the parameters are views of.

    So an optimizer needs few kernels.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], buffers: Sequence[str]) -> None:
        self.parameters = list(parameters)
        self.weights = torch.cat([_as_vector(parameter.data) for parameter in self.parameters])
        for parameter, values in zip(self.parameters, self.shaped(self.weights), strict=True):
            parameter.data = values
        self.buffers = {name: torch.zeros_like(self.weights) for name in buffers}

    def shaped(self, vector: Tensor) -> list[Tensor]:
        """Return the parts of a vector in the shapes of the parameters, as views."""
        parts = torch.split(vector, [parameter.numel() for parameter in self.parameters])
        return [_in_shape(part, parameter) for part, parameter in zip(parts, self.parameters, strict=True)]

    def reset(self) -> None:
        """Put the buffers at their values before the first step."""
        for name, buffer in self.buffers.items():
            buffer.copy_(self.weights) if name == "newest" else buffer.zero_()


def _as_vector(tensor: Tensor) -> Tensor:
    """Return the values in the order of channels_last, which filters and their gradients have."""
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).reshape(-1)


def _in_shape(part: Tensor, like: Tensor) -> Tensor:
    if like.ndim != 4:
        return part.view(like.shape)
    out, channels, height, width = like.shape
    return part.view(out, height, width, channels).permute(0, 3, 1, 2)


class TableOptimizer:
    """The optimizer of a run, as rows of scalars and as an update on the device.

    `rules` has a rule and the parameters of each group.
    """

    def __init__(self, rules: Sequence[tuple[Rule, Sequence[nn.Parameter]]]) -> None:
        self.rules = [rule for rule, _ in rules]
        self.groups = [WeightVector(parameters, rule.buffers) for rule, parameters in rules]
        self.counters = [Counters() for _ in self.rules]
        self.width = sum(rule.width for rule in self.rules)
        self._at_average = False

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters of all groups, in the order in which `update` takes their gradients."""
        return [parameter for group in self.groups for parameter in group.parameters]

    def tensors(self) -> list[Tensor]:
        """Return the weights and the buffers of all groups."""
        return [tensor for group in self.groups for tensor in (group.weights, *group.buffers.values())]

    def start(self, rules: Sequence[Rule]) -> None:
        """Start a run with other numbers. The network has its first weights."""
        self.rules, self.counters, self._at_average = list(rules), [Counters() for _ in rules], False
        for group in self.groups:
            group.reset()

    def probe(self) -> list[float]:
        """Return a row with large numbers, to compare two updates."""
        return [scalar for rule in self.rules for scalar in rule.row(0.1, 0.9, Counters())[0]]

    def rows(
        self, rates: Sequence[float], momenta: Sequence[float | None], progress: Sequence[float]
    ) -> tuple[list[list[float]], list[list[Counters]]]:
        """Return a row of scalars for each step, and the counters of each group after each step.

        `progress` is the fraction of the run before each step.
        """
        rows, after, counters = [], [], self.counters
        for rate, momentum, done in zip(rates, momenta, progress, strict=True):
            pairs = [
                rule.row(rate * rule.factor(done), momentum, count)
                for rule, count in zip(self.rules, counters, strict=True)
            ]
            rows.append([scalar for row, _ in pairs for scalar in row])
            counters = [count for _, count in pairs]
            after.append(counters)
        return rows, after

    @torch.no_grad()
    def update(self, gradients: Sequence[Tensor], row: Tensor) -> None:
        """Update the weights. `row` has shape (width,)."""
        scalars, remaining = row.unbind(), list(gradients)
        for rule, group in zip(self.rules, self.groups, strict=True):
            count = len(group.parameters)
            gradient = torch.cat([_as_vector(one) for one in remaining[:count]])
            rule.update(group, gradient, scalars[: rule.width])
            scalars, remaining = scalars[rule.width :], remaining[count:]

    def before_step(self) -> None:
        """Put the training weights of Schedule-Free into the network."""
        if self._at_average:
            self._move(lambda beta: 1 - beta)
            self._at_average = False

    def before_evaluation(self, refresh_batch_norm: Callable[[], None]) -> None:
        """Put the average of the weights of Schedule-Free into the network."""
        if any(isinstance(rule, ScheduleFreeSGD) for rule in self.rules) and not self._at_average:
            self._move(lambda beta: 1 - 1 / beta)
            self._at_average = True
            refresh_batch_norm()

    @torch.no_grad()
    def _move(self, share: Callable[[float], float]) -> None:
        for rule, group in zip(self.rules, self.groups, strict=True):
            if isinstance(rule, ScheduleFreeSGD):
                group.weights.lerp_(group.buffers["newest"], share(rule.beta))

    def state_dicts(self) -> list[dict[str, Any]]:
        """Return the state of each group, for a checkpoint. The network has the weights."""
        return [
            {"counters": asdict(counters), "buffers": group.buffers, "at_average": self._at_average}
            for counters, group in zip(self.counters, self.groups, strict=True)
        ]

    def load_state_dicts(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Resume from a checkpoint."""
        self.counters = [Counters(**state["counters"]) for state in states]
        for state, group in zip(states, self.groups, strict=True):
            self._at_average = state["at_average"]
            for name, buffer in group.buffers.items():
                buffer.copy_(state["buffers"][name])


def table_rules(spec: TrialSpec, net: nn.Module) -> list[tuple[Rule, list[nn.Parameter]]] | None:
    """Return the rule and the parameters of each group.

    Returns None if the optimizer of the run, or one of its arguments, has no form as a table.
    """
    if own_optimizer(spec.scheduler.target):
        return _schedule_free(spec, net)
    if spec.optimizer.target == "torch.optim.Muon":
        weights, *others = muon.split_groups(spec, net)
        return _rules(
            [weights, *others], [(Muon, spec.optimizer.args)] + [(AdamW, {"betas": muon.ADAMW_BETAS})] * len(others)
        )
    kinds: dict[str, type[Rule]] = {"torch.optim.SGD": SGD, "torch.optim.AdamW": AdamW}
    if spec.optimizer.target not in kinds:
        return None
    groups = parameter_groups(spec, net)
    return _rules(groups, [(kinds[spec.optimizer.target], spec.optimizer.args)] * len(groups))


def _schedule_free(spec: TrialSpec, net: nn.Module) -> list[tuple[Rule, list[nn.Parameter]]] | None:
    if own_optimizer(spec.scheduler.target) != "lrbench.training.schedule_free.build":
        return None
    args = {name: spec.scheduler.args[name] for name in ("beta", "average_power", "rate_power")}
    groups = groups_of(spec, net)
    if spec.optimizer.target == "torch.optim.SGD":
        return _rules(groups, [(ScheduleFreeSGD, args)] * len(groups))
    if spec.optimizer.target == "torch.optim.AdamW":
        adam = {"beta2": spec.optimizer.args["betas"][1], "eps": spec.optimizer.args["eps"]}
        return _rules(groups, [(ScheduleFreeAdamW, {**args, **adam})] * len(groups))
    return None


def _rules(
    groups: Sequence[Mapping[str, Any]], kinds: Sequence[tuple[type[Rule], Mapping[str, Any]]]
) -> list[tuple[Rule, list[nn.Parameter]]] | None:
    """Return the rules of the groups that have parameters, None if an argument is not supported."""
    try:
        return [
            (kind(group, **args), list(group["params"]))
            for group, (kind, args) in zip(groups, kinds, strict=True)
            if group["params"]
        ]
    except TypeError:  # an argument of torch's optimizer that the rule does not have
        return None
