"""The optimizers of a run, built from its config and stepped as one."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lrbench.config.targets import locate
from lrbench.schedules.table import own_optimizer
from lrbench.spec import ConfigError, TrialSpec

FUSED = ("torch.optim.SGD", "torch.optim.AdamW", "torch.optim.Adam")  # targets that have fused kernels
BUILDERS = {"torch.optim.Muon": "lrbench.training.muon.build"}  # for targets that need a second optimizer


class Optimizers:
    """The optimizers of a run.

    Each parameter group learns at its `lr_factor` times the scheduled learning rate.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self._optimizers = list(optimizers)

    def set_rate(self, rate: float, momentum: float | None, progress: float = 0.0) -> None:
        """Set the learning rate of the next step, and the momentum unless it is None.

        `progress` is the fraction of the run before this step. It freezes some parameters.
        """
        for group in self.parameter_groups():
            group["lr"] = rate * factor_at(group, progress)
            if momentum is not None:
                _set_momentum(group, momentum)

    def rate(self) -> float:
        """Return the learning rate of the weights."""
        return float(self.parameter_groups()[0]["lr"])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of all optimizers."""
        return [group for optimizer in self._optimizers for group in optimizer.param_groups]

    def before_step(self) -> None:
        """Prepare the weights for a training step."""

    def before_evaluation(self, refresh_batch_norm: Callable[[], None]) -> None:
        """Prepare the weights for the first evaluation after a training step."""

    def step(self) -> None:
        """Update the weights."""
        for optimizer in self._optimizers:
            optimizer.step()

    def state_dicts(self) -> list[dict[str, Any]]:
        """Return the state of each optimizer, for a checkpoint."""
        return [optimizer.state_dict() for optimizer in self._optimizers]

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Resume from a checkpoint."""
        for optimizer, state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def build_optimizers(spec: TrialSpec, net: nn.Module) -> Optimizers:
    """Return the optimizers of a run, from its config or from a scheduler with its own optimizer.

    A target is a class of torch.optim.Optimizer, or a function `(spec, net) -> Optimizers`. Raises
    ConfigError.
    """
    target = spec.optimizer.target
    builder = locate(own_optimizer(spec.scheduler.target) or BUILDERS.get(target, target))
    if inspect.isclass(builder):
        return Optimizers([build_optimizer(spec, parameter_groups(spec, net))])
    optimizers = builder(spec, net)
    if not isinstance(optimizers, Optimizers):
        raise ConfigError(f"optimizer._target_={target}: must return lrbench.training.optimizers.Optimizers")
    return optimizers


def parameter_groups(spec: TrialSpec, net: nn.Module) -> list[dict[str, Any]]:
    """Return two groups of parameters: the weight matrices and filters, then the biases and norms.

    The second learns at `bias_lr_factor` times the learning rate. Its weight decay is divided by
    that factor, so that a step shrinks both groups equally. A network with an attribute
    `frozen_after` names parameters of the second group, and the fraction of the run after which
    each stays as it is. If that fraction is below 1, the parameter has its own group.
    """
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    frozen: list[tuple[nn.Parameter, float]] = []
    ends: Mapping[str, float] = getattr(net, "frozen_after", {})
    for name, weight in net.named_parameters():
        if weight.requires_grad:
            is_matrix = name.endswith("weight") and weight.ndim > 1
            if not is_matrix and ends.get(name, 1.0) < 1:
                frozen.append((weight, ends[name]))
            else:
                (matrices if is_matrix else vectors).append(weight)
    factor, decay = spec.optimizer.bias_lr_factor, spec.optimizer.weight_decay
    small = {"lr_factor": factor, "weight_decay": decay / factor}
    return [
        {"params": matrices, "lr_factor": 1.0, "weight_decay": decay},
        {"params": vectors, **small},
        *({"params": [weight], **small, "frozen_after": end} for weight, end in frozen),
    ]


def factor_at(group: Mapping[str, Any], progress: float) -> float:
    """Return the factor of the learning rate of a parameter group, 0 if it is frozen."""
    return 0.0 if progress >= group.get("frozen_after", math.inf) else float(group["lr_factor"])


def build_optimizer(spec: TrialSpec, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the optimizer that the config names, on these parameter groups. Raises ConfigError."""
    args = {name: tuple(value) if isinstance(value, list) else value for name, value in spec.optimizer.args.items()}
    if spec.optimizer.target in FUSED:
        args["fused"] = True
    try:
        optimizer = locate(spec.optimizer.target)(groups, lr=spec.optimizer.lr, **args)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer={spec.optimizer.name}: {error}") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(f"optimizer._target_={spec.optimizer.target}: must be a subclass of torch.optim.Optimizer")
    return optimizer


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    """Set the momentum of a parameter group, which is the first beta of Adam."""
    if "betas" in group:
        group["betas"] = (momentum, group["betas"][1])
    else:
        group["momentum"] = momentum
