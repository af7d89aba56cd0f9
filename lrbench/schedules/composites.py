"""Schedulers that are made of other schedulers: `sequence` and `product`."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrbench.config.lengths import part_bounds
from lrbench.schedules.plateau import is_live
from lrbench.schedules.table import Schedule, composite, own_optimizer, same_rates, schedule_table
from lrbench.schedules.torch_scheduler import dummy_optimizer, momentum_of
from lrbench.spec import ConfigError, SchedulerSpec, TrialSpec, validated


@composite
def sequence(spec: TrialSpec, parts: Mapping[str, Mapping[str, Any]]) -> Schedule:
    """Return schedules one after the other.

    Each part takes its `fraction` of the run, and its scheduler treats that part as a whole run.
    """
    bounds = part_bounds([part["fraction"] for part in parts.values()], spec.train.total_steps)
    tables = []
    for part, (start, stop) in zip(parts.values(), itertools.pairwise(bounds), strict=True):
        tables.append(schedule_table(_member(spec, part["scheduler"], stop - start)))
    return Schedule(np.concatenate([table.lr for table in tables]), _joined_momentum(spec, tables))


@composite
def product(spec: TrialSpec, factors: Mapping[str, Mapping[str, Any]]) -> Schedule:
    """Return the product of schedules over the whole run, each as a factor of the peak rate."""
    if not factors:
        raise ValueError("scheduler.args.factors: must name at least one scheduler")
    tables = [schedule_table(_member(spec, member, spec.train.total_steps)) for member in factors.values()]
    if any(table.momentum is not None for table in tables):
        raise ValueError(
            "scheduler.args.factors: must have no member that cycles the momentum, because a product sets no momentum. "
            "Set cycle_momentum=false."
        )
    peak = spec.optimizer.lr
    return Schedule(peak * np.prod([table.lr / peak for table in tables], axis=0), None)


def _member(spec: TrialSpec, scheduler: Mapping[str, Any], steps: int) -> TrialSpec:
    """Return the run of a member of a composite: its scheduler, for its number of steps.

    Raises ConfigError if the scheduler may not be a member.
    """
    train = spec.train.model_copy(update={"total_steps": steps, "epochs": steps / spec.train.steps_per_epoch})
    inner = validated(SchedulerSpec, scheduler, "scheduler.args")
    member = spec.model_copy(update={"scheduler": inner, "train": train})
    composite_name = f"scheduler={spec.scheduler.name}"
    if own_optimizer(inner.target):
        raise ConfigError(
            f"{composite_name}: must not contain {inner.name}, which replaces the optimizer. "
            f"Use {same_rates(inner.target)}, which has the same learning rates."
        )
    if is_live(member):
        raise ConfigError(
            f"{composite_name}: must not contain {inner.name}, which follows the loss and has no table. Use it alone."
        )
    if inner.interval != "step":
        raise ConfigError(
            f"{composite_name}: {inner.name} must have interval=step, because members have the interval of the "
            f"composite. For epochs, set scheduler.interval={inner.interval}."
        )
    return member


def _joined_momentum(spec: TrialSpec, tables: Sequence[Schedule]) -> np.ndarray | None:
    """Return the momentum of all parts, None if no part sets it."""
    if all(table.momentum is None for table in tables):
        return None
    default = momentum_of(dummy_optimizer(spec))
    return np.concatenate(
        [np.full_like(table.lr, default) if table.momentum is None else table.momentum for table in tables]
    )
