"""Schedules as tables: a scheduler is built from its config and runs once, before training."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lrbench.config.targets import locate
from lrbench.schedules.plateau import LiveSchedule, is_live
from lrbench.schedules.torch_scheduler import (
    build_scheduler,
    dummy_optimizer,
    momentum_of,
    run_scheduler,
    scheduler_steps,
    without_torch_warnings,
)
from lrbench.spec import ConfigError, TrialSpec


class RateSource(Protocol):
    """The learning rates of a run, step by step: a table, or a live scheduler."""

    @property
    def momentum(self) -> np.ndarray | None:
        """The momentum at each step, None if the scheduler does not set it."""

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""

    def observe(self, loss: float) -> None:
        """Report the loss of an evaluation to the scheduler."""

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a checkpoint."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate and the momentum of each step, as arrays of `total_steps` float64 values.

    `momentum` is beta1 if the optimizer has betas. It is None if the scheduler does not set it.
    """

    lr: np.ndarray
    momentum: np.ndarray | None

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return float(self.lr[step])

    def observe(self, loss: float) -> None:
        """Ignore the loss of an evaluation: a table is fixed."""

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint, which is empty for a table."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a checkpoint: a table has nothing to restore."""


def composite(function: Callable[..., Schedule]) -> Callable[..., Schedule]:
    """Mark a function that makes a schedule of member schedulers, such as `sequence`.

    Its first argument is the run, the others are the scheduler's arguments.
    """
    function.is_composite = True  # type: ignore[attr-defined]  # read by schedule_table
    return function


def own_optimizer(target: str) -> str | None:
    """Return the dotted name of the function that builds a scheduler's own optimizer.

    Returns None for most schedulers, which use the optimizer of the config.
    """
    return getattr(locate(target), "optimizer_builder", None)


def same_rates(target: str) -> str:
    """Return the scheduler that has the same learning rates but uses the config's optimizer."""
    return str(getattr(locate(target), "same_rates"))  # noqa: B009  # set by factors.replaces_optimizer


def start_schedule(spec: TrialSpec) -> RateSource:
    """Return the schedule of a run: live if the scheduler follows the loss, else a table.

    Raises ConfigError.
    """
    return LiveSchedule(spec) if is_live(spec) else schedule_table(spec)


def schedule_table(spec: TrialSpec) -> Schedule:
    """Return the learning rate of each optimizer step of a run.

    For a scheduler that follows the loss, it is the initial rate throughout. Raises ConfigError if
    the scheduler cannot be built, fails, or gives a rate that is negative or not finite.
    """
    with _config_errors(spec.scheduler.name):
        schedule = _by_scheduler_step(spec)
    lr = _per_optimizer_step(spec, schedule.lr)
    invalid = np.flatnonzero(~(np.isfinite(lr) & (lr >= 0)))
    if len(invalid):
        step = invalid[0]
        raise ConfigError(
            f"scheduler={spec.scheduler.name}: the learning rate must be finite and at least 0; "
            f"got {lr[step]:g} at step {step} of {len(lr)}"
        )
    return Schedule(lr, None if schedule.momentum is None else _per_optimizer_step(spec, schedule.momentum))


@contextmanager
def _config_errors(name: str) -> Iterator[None]:
    """Turn the errors of a scheduler's arguments into ConfigErrors."""
    try:
        yield
    except ConfigError:
        raise
    except ZeroDivisionError as error:
        raise ConfigError(f"scheduler={name}: an argument, such as a length in steps, must not be 0") from error
    except (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, RuntimeError) as error:
        raise ConfigError(f"scheduler={name}: {error}") from error


def _by_scheduler_step(spec: TrialSpec) -> Schedule:
    """Return a schedule with one value per step of the scheduler, which may be an epoch."""
    target = locate(spec.scheduler.target)
    if getattr(target, "is_composite", False):
        return target(_in_scheduler_steps(spec), **spec.scheduler.args)  # type: ignore[no-any-return]
    if is_live(spec):
        return Schedule(np.full(scheduler_steps(spec), LiveSchedule(spec).rate(0)), None)
    if inspect.isfunction(target):
        return Schedule(spec.optimizer.lr * _factors(spec), None)
    optimizer = dummy_optimizer(spec)
    own_momentum = momentum_of(optimizer)
    with without_torch_warnings():
        rows = run_scheduler(build_scheduler(spec, optimizer), optimizer, scheduler_steps(spec))
    lr, momentum = rows.T
    unchanged = np.array_equal(momentum, np.full_like(momentum, own_momentum), equal_nan=True)
    return Schedule(lr, None if unchanged else momentum)


def _factors(spec: TrialSpec) -> np.ndarray:
    """Return the factors of a function like the ones in `lrbench.factors`: shape (steps,)."""
    steps = scheduler_steps(spec)
    values = locate(spec.scheduler.target)(np.arange(steps), steps, **spec.scheduler.args)
    factors = np.asarray(values, dtype=np.float64)
    if factors.shape != (steps,):
        raise ValueError(f"{spec.scheduler.target} must return factors of shape ({steps},); got {factors.shape}")
    return factors


def _per_optimizer_step(spec: TrialSpec, values: np.ndarray) -> np.ndarray:
    """Return a value for each optimizer step from one for each scheduler step."""
    if spec.scheduler.interval == "epoch":
        values = np.repeat(values, spec.train.steps_per_epoch)
    return values[: spec.train.total_steps].copy()


def _in_scheduler_steps(spec: TrialSpec) -> TrialSpec:
    """Return the run with one step per step of its scheduler, which may be an epoch."""
    if spec.scheduler.interval == "step":
        return spec
    train = spec.train.model_copy(update={"total_steps": scheduler_steps(spec), "steps_per_epoch": 1})
    return spec.model_copy(update={"train": train})
