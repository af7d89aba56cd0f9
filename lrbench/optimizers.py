"""The optimizers of a run, from its config."""

from typing import Any

import torch
from torch import nn

from lrbench import schedules
from lrbench.spec import ConfigError, TrialSpec


def build(spec: TrialSpec, net: nn.Module) -> list[torch.optim.Optimizer]:
    """Return the optimizer of the config; two of them for Muon, which takes the hidden matrices only.

    Biases and norms learn at `bias_lr_factor` times the rate, with so much less decay that theirs per step is the same.
    """
    trained = {name: weight for name, weight in net.named_parameters() if weight.requires_grad}
    matrices = [weight for name, weight in trained.items() if name.endswith("weight") and weight.ndim > 1]
    vectors = [weight for name, weight in trained.items() if not (name.endswith("weight") and weight.ndim > 1)]
    factor, decay = spec.optimizer.bias_lr_factor, spec.optimizer.weight_decay
    weights_group = {"params": matrices, "lr_factor": 1.0, "weight_decay": decay}
    others_group = {"params": vectors, "lr_factor": factor, "weight_decay": decay / factor}
    if spec.scheduler.target == schedules.SCHEDULE_FREE:
        return [_schedule_free(spec, [weights_group, others_group])]
    if spec.optimizer.target != "torch.optim.Muon":
        return [_optimizer(spec, [weights_group, others_group])]
    head = trained.get("head.weight")
    if head is None or any(weight.ndim > 2 for weight in matrices):
        raise ConfigError(f"optimizer=muon: model={spec.model.name} has filters that are no matrices; model=fast suits it")
    weights_group["params"] = [weight for weight in matrices if weight is not head]
    others_group["params"] = [*vectors, head]
    return [_optimizer(spec, [weights_group]), torch.optim.AdamW([others_group], betas=(0.9, 0.95), fused=True)]


def _optimizer(spec: TrialSpec, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    target = schedules.locate(spec.optimizer.target)
    args = {name: tuple(value) if isinstance(value, list) else value for name, value in spec.optimizer.args.items()}
    if spec.optimizer.target in ("torch.optim.SGD", "torch.optim.AdamW", "torch.optim.Adam"):
        args["fused"] = True
    try:
        optimizer = target(groups, lr=spec.optimizer.lr, **args)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer={spec.optimizer.name}: {error}") from error
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def _schedule_free(spec: TrialSpec, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Return the Schedule-Free form of the config's optimizer (https://github.com/facebookresearch/schedule_free)."""
    try:
        import schedulefree
    except ImportError as error:
        package = "pip install 'lr-scheduler-bench[schedule-free]'"
        raise ConfigError(f"scheduler=schedule_free needs the package schedulefree: {package}") from error
    args = spec.scheduler.args
    average = {"lr": spec.optimizer.lr, "r": args["average_power"], "weight_lr_power": args["rate_power"]}
    if spec.optimizer.target == "torch.optim.SGD":
        optimizer = schedulefree.SGDScheduleFree(groups, momentum=args["beta"], **average)
    elif spec.optimizer.target == "torch.optim.AdamW":
        betas = (args["beta"], spec.optimizer.args["betas"][1])
        optimizer = schedulefree.AdamWScheduleFree(groups, betas=betas, eps=spec.optimizer.args["eps"], **average)
    else:
        raise ConfigError(f"optimizer={spec.optimizer.name}: scheduler=schedule_free has a form of sgd and of adamw alone")
    assert isinstance(optimizer, torch.optim.Optimizer)
    return optimizer


def set_momentum(group: dict[str, Any], momentum: float) -> None:
    """Give a group of parameters its momentum; Adam's is its first beta."""
    if "betas" in group:
        group["betas"] = (momentum, group["betas"][1])
    else:
        group["momentum"] = momentum
