"""Schedule-Free SGD and AdamW, which need no schedule (Defazio et al. 2024,
https://arxiv.org/abs/2405.15682).

They train at one point and are evaluated at another, the average of the weights. BatchNorm needs
its own statistics at that point.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lrbench.spec import ConfigError, TrialSpec
from lrbench.training.optimizers import Optimizers, parameter_groups


class ScheduleFree(Optimizers):
    """An optimizer of the package schedulefree.

    It moves the network between its training weights and their average.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__([optimizer])
        self._optimizer = optimizer

    def before_step(self) -> None:
        """Put the training weights into the network."""
        self._optimizer.train()  # type: ignore[attr-defined]  # of the package's optimizers

    def before_evaluation(self, refresh_batch_norm: Callable[[], None]) -> None:
        """Put the average of the weights into the network."""
        self._optimizer.eval()  # type: ignore[attr-defined]  # of the package's optimizers
        refresh_batch_norm()


def build(spec: TrialSpec, net: nn.Module) -> ScheduleFree:
    """Return the Schedule-Free version of the config's optimizer.

    Raises ConfigError if there is no such version, or if the package is not installed.
    """
    try:
        import schedulefree
    except ImportError as error:
        package = "pip install 'lr-scheduler-bench[schedule-free]'"
        raise ConfigError(f"scheduler=schedule_free: needs the package schedulefree. Install it: {package}") from error
    args, groups = spec.scheduler.args, groups_of(spec, net)
    beta = args["beta"]
    shared = {"lr": spec.optimizer.lr, "r": args["average_power"], "weight_lr_power": args["rate_power"]}
    if spec.optimizer.target == "torch.optim.SGD":
        return ScheduleFree(schedulefree.SGDScheduleFree(groups, momentum=beta, **shared))
    if spec.optimizer.target == "torch.optim.AdamW":
        betas, eps = (beta, spec.optimizer.args["betas"][1]), spec.optimizer.args["eps"]
        return ScheduleFree(schedulefree.AdamWScheduleFree(groups, betas=betas, eps=eps, **shared))
    raise ConfigError(f"optimizer={spec.optimizer.name}: must be sgd or adamw for scheduler=schedule_free")


def groups_of(spec: TrialSpec, net: nn.Module) -> list[dict[str, Any]]:
    """Return the parameter groups.

    Raises ConfigError for settings that would change the weights behind the optimizer's back.
    """
    if spec.train.average == "lookahead":
        raise ConfigError(
            "train.average=lookahead: must be none or ema for scheduler=schedule_free, which averages the weights"
        )
    groups = parameter_groups(spec, net)
    if any("frozen_after" in group for group in groups):
        raise ConfigError(
            "model.args.freeze_stem_bias: must be 1 for scheduler=schedule_free, which moves all weights in each step"
        )
    return groups
