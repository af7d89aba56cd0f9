"""Optimizers as tables: the host computes the scalars of each step, and the device reads them.

A CUDA graph repeats its operations on the same memory. So each number that changes from step to
step, such as the learning rate or Adam's bias correction, is a value in a table on the device. The
optimizers of torch keep some of these numbers on the host.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from lrbench.schedules.table import own_optimizer
from lrbench.spec import TrialSpec
from lrbench.training import muon
from lrbench.training.optimizers import parameter_groups
from lrbench.training.schedule_free import groups_of
from lrbench.training.update_rules import SGD, AdamW, Counters, Muon, Rule, ScheduleFreeAdamW, ScheduleFreeSGD
from lrbench.training.weight_vector import WeightVector, as_vector


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
            gradient = torch.cat([as_vector(one) for one in remaining[:count]])
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
