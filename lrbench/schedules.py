"""Schedules as tables: a scheduler is built from its config and run once, before training."""

import importlib
import inspect
import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lrbench.formula import Formula
from lrbench.resolvers import part_bounds
from lrbench.spec import ConfigError, SchedulerSpec, TrialSpec, validated

SCHEDULE_FREE = "lrbench.factors.schedule_free"  # comes with an optimizer of its own
FORMULA_ARGUMENTS = {"lr_lambda": "epoch", "scale_fn": "x"}  # arguments that torch calls, and what with


@dataclass(frozen=True)
class Schedule:
    """What the optimizer uses at each step of a run: arrays of `total_steps` float64 values.

    `momentum` (beta1, where the optimizer has betas) is None where the scheduler leaves it alone.
    """

    lr: np.ndarray
    momentum: np.ndarray | None

    def rate(self, step: int) -> float:
        """Return the rate of a step."""
        return float(self.lr[step])

    def observe(self, loss: float) -> None:
        """Take in the loss of an evaluation, which a table does not look at."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs: nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""


class LiveSchedule:
    """A schedule that looks at the loss of each evaluation, as ReduceLROnPlateau does: no table can hold it."""

    momentum = None

    def __init__(self, spec: TrialSpec) -> None:
        self._optimizer = _dummy_optimizer(spec)
        self._scheduler = build(spec, self._optimizer)

    def rate(self, step: int) -> float:
        """Return the rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def observe(self, loss: float) -> None:
        """Take in the loss of an evaluation."""
        self._scheduler.step(loss)  # type: ignore[arg-type]  # a metric, in torch's own class

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs: the rate, and what the scheduler has seen."""
        return {"lr": self.rate(0), "scheduler": self._scheduler.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._optimizer.param_groups[0]["lr"] = state["lr"]
        self._scheduler.load_state_dict(state["scheduler"])


def start(spec: TrialSpec) -> Schedule | LiveSchedule:
    """Return the schedule of a run that begins: a table, or a live one where the scheduler looks at the loss. Raises ConfigError."""
    return LiveSchedule(spec) if _is_live(spec) else table(spec)


def table(spec: TrialSpec) -> Schedule:
    """Run the scheduler of `spec` on a dummy optimizer for exactly the steps of the run.

    That of a scheduler which looks at the loss is its rate while the loss falls. Raises ConfigError where a scheduler cannot be
    built, raises on the way, or gives a rate that is negative or not finite.
    """
    optimizer = _dummy_optimizer(spec)
    own_momentum = _momentum(optimizer)
    target = locate(spec.scheduler.target)
    try:
        if target in (sequence, product):
            composed = target(_in_scheduler_steps(spec), **spec.scheduler.args)
            momentum = None if composed.momentum is None else _per_optimizer_step(spec, composed.momentum)
            return Schedule(_per_optimizer_step(spec, composed.lr), momentum)
        if _is_live(spec):
            return Schedule(np.full(spec.train.total_steps, LiveSchedule(spec).rate(0)), None)
        if inspect.isfunction(target):
            rows = np.stack([spec.optimizer.lr * _factors(spec), np.full(_scheduler_steps(spec), own_momentum)], axis=1)
        else:
            with _without_torchs_own_warnings():
                rows = _run(build(spec, optimizer), optimizer, _scheduler_steps(spec))
    except ConfigError:
        raise
    except ZeroDivisionError as error:
        raise ConfigError(f"scheduler={spec.scheduler.name}: an argument is zero that cannot be, such as a length in steps") from error
    except (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, RuntimeError) as error:
        raise ConfigError(f"scheduler={spec.scheduler.name}: {error}") from error
    lr, momentum = _per_optimizer_step(spec, rows).T
    bad = np.flatnonzero(~(np.isfinite(lr) & (lr >= 0)))
    if len(bad):
        raise ConfigError(f"scheduler={spec.scheduler.name}: the rate is {lr[bad[0]]:g} at step {bad[0]} of {len(lr)}")
    return Schedule(lr, None if np.array_equal(momentum, np.full_like(momentum, own_momentum), equal_nan=True) else momentum)


def sequence(spec: TrialSpec, parts: Mapping[str, Mapping[str, Any]]) -> Schedule:
    """Join schedules, one after the other: each as if its part of the run, a `fraction` of it, were a run of its own."""
    bounds = part_bounds([part["fraction"] for part in parts.values()], spec.train.total_steps)
    members = zip(parts.values(), itertools.pairwise(bounds), strict=True)
    tables = [table(_member(spec, part["scheduler"], stop - start)) for part, (start, stop) in members]
    return Schedule(np.concatenate([one.lr for one in tables]), _joined_momentum(spec, tables))


def product(spec: TrialSpec, factors: Mapping[str, Mapping[str, Any]]) -> Schedule:
    """Multiply schedules, each as a factor of the peak rate, over the whole run."""
    if not factors:
        raise ValueError("scheduler.args.factors: at least one scheduler is needed")
    tables = [table(_member(spec, member, spec.train.total_steps)) for member in factors.values()]
    if any(one.momentum is not None for one in tables):
        raise ValueError("scheduler.args.factors: a member that cycles the momentum has no factor; cycle_momentum=false will do")
    return Schedule(spec.optimizer.lr * np.prod([one.lr / spec.optimizer.lr for one in tables], axis=0), None)


def build(spec: TrialSpec, optimizer: Optimizer) -> LRScheduler:
    """Return the scheduler of `spec` on `optimizer`, formulas made callable. Raises what the scheduler raises, or ConfigError."""
    node = {"_target_": spec.scheduler.target, "args": spec.scheduler.args}
    return _build(node, spec, optimizer)


def locate(target: str) -> Callable[..., Any]:
    """Return the class or function that a dotted path names: of a module, and defined in its package.

    The check keeps a path such as `torch.optim.lr_scheduler.partial` from reaching what the module imports.
    """
    module_name, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"_target_={target}: there is no such class or function ({error})") from error
    home = str(getattr(found, "__module__", ""))
    if not callable(found) or home.partition(".")[0] != target.partition(".")[0]:
        raise ConfigError(f"_target_={target}: not a class or function of {target.partition('.')[0]}")
    return found  # type: ignore[no-any-return]


def _member(spec: TrialSpec, scheduler: Mapping[str, Any], steps: int) -> TrialSpec:
    """Return the run of a member of a composite: its own scheduler, for its own number of steps."""
    train = spec.train.model_copy(update={"total_steps": steps, "epochs": steps / spec.train.steps_per_epoch})
    member = spec.model_copy(update={"scheduler": validated(SchedulerSpec, scheduler, "scheduler.args"), "train": train})
    name, inner = spec.scheduler.name, member.scheduler
    if inner.target == SCHEDULE_FREE:
        raise ConfigError(f"scheduler={name}: {inner.name} is an optimizer too and stands alone; warmup_constant has its rates")
    if _is_live(member):
        raise ConfigError(f"scheduler={name}: {inner.name} looks at the loss, so it has no curve to compose, and stands alone")
    if inner.interval != "step":
        raise ConfigError(f"scheduler={name}: the interval of its members is that of the whole; set scheduler.interval=epoch")
    return member


def _joined_momentum(spec: TrialSpec, tables: Sequence[Schedule]) -> np.ndarray | None:
    if all(one.momentum is None for one in tables):
        return None
    own = _momentum(_dummy_optimizer(spec))
    return np.concatenate([np.full_like(one.lr, own) if one.momentum is None else one.momentum for one in tables])


def _build(node: Mapping[str, Any], spec: TrialSpec, optimizer: Optimizer) -> LRScheduler:
    target = locate(node["_target_"])
    args = {name: _argument(name, value, spec, optimizer) for name, value in node["args"].items()}
    known = inspect.signature(target).parameters
    unknown = [name for name in args if name not in known]
    if unknown:
        raise ConfigError(f"unknown argument {unknown[0]} of {node['_target_']}; allowed: {', '.join(known)}")
    return target(optimizer=optimizer, **args)  # type: ignore[no-any-return]


def _argument(name: str, value: Any, spec: TrialSpec, optimizer: Optimizer) -> Any:
    if isinstance(value, Mapping) and "_target_" in value:
        return _build(value, spec, optimizer)
    if isinstance(value, list):
        return [_argument(name, item, spec, optimizer) for item in value]
    if name in FORMULA_ARGUMENTS and value is not None:
        return _formula(name, str(value), spec)
    return value


def _formula(name: str, text: str, spec: TrialSpec) -> Callable[[float], float]:
    """Return a formula as the function that torch calls with the scheduler's step (LambdaLR) or a cycle's part (CyclicLR)."""
    knobs = {key: float(value) for key, value in spec.scheduler.knobs.items() if isinstance(value, int | float)}
    train, per_epoch = spec.train, spec.train.steps_per_epoch
    steps_per_call = 1 if spec.scheduler.interval == "step" else per_epoch
    lengths = {"total_steps": float(train.total_steps), "total_epochs": train.epochs, "scheduler_steps": float(_scheduler_steps(spec))}
    fixed = {**knobs, **lengths}
    try:
        if FORMULA_ARGUMENTS[name] == "x":
            scale = Formula(text, {*fixed, "x"})
            return lambda x: scale({**fixed, "x": float(x)})
        factor = Formula(text, {*fixed, "step", "epoch", "progress"})
    except ValueError as error:
        raise ConfigError(f"scheduler.args.{name}: {error}") from error

    def at(call: float) -> float:
        step = call * steps_per_call
        return factor({**fixed, "step": step, "epoch": step / per_epoch, "progress": step / train.total_steps})

    return at


def _is_live(spec: TrialSpec) -> bool:
    target = locate(spec.scheduler.target)
    return inspect.isclass(target) and issubclass(target, ReduceLROnPlateau)


def _factors(spec: TrialSpec) -> np.ndarray:
    """Return what a factor function, such as those of `lrbench.factors`, makes of the scheduler's steps: shape (steps,)."""
    steps = _scheduler_steps(spec)
    factors = np.asarray(locate(spec.scheduler.target)(np.arange(steps), steps, **spec.scheduler.args), dtype=np.float64)
    if factors.shape != (steps,):
        raise ValueError(f"{spec.scheduler.target} gives factors of shape {factors.shape} for {steps} steps")
    return factors


class _Rates(Optimizer):
    """An optimizer that a scheduler can set the rate and the momentum of, and nothing else.

    torch's own would import its compiler for the first group of weights, which takes longer than most tables.
    """

    def __init__(self, args: Mapping[str, Any]) -> None:
        self.defaults = dict(args)
        self.param_groups = [{"params": [], **args}]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch's returns the loss of a closure
        """Do nothing: there are no weights."""


def _dummy_optimizer(spec: TrialSpec) -> Optimizer:
    """Return an optimizer with the rate, momentum and betas of `spec`, without weights."""
    args = {name: tuple(value) if isinstance(value, list) else value for name, value in spec.optimizer.args.items()}
    return _Rates({"lr": spec.optimizer.lr, **args})


def _run(scheduler: LRScheduler, optimizer: Optimizer, steps: int) -> np.ndarray:
    """Return the rate and the momentum before each of `steps` scheduler steps: shape (steps, 2)."""
    group = optimizer.param_groups[0]
    rows = np.empty((steps, 2))
    rows[0] = group["lr"], _momentum(optimizer)
    optimizer.step()  # torch warns of a scheduler that is stepped first
    for row in range(1, steps):
        scheduler.step()
        rows[row] = group["lr"], _momentum(optimizer)
    return rows


@contextmanager
def _without_torchs_own_warnings() -> Iterator[None]:
    """SequentialLR passes an epoch to its members, against torch's own advice, and composites step theirs when they are made."""
    with warnings.catch_warnings():
        for message in ("The epoch parameter in `scheduler.step", "Detected call of `lr_scheduler.step"):
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield


def _momentum(optimizer: Optimizer) -> float:
    group = optimizer.param_groups[0]
    return float(group["betas"][0] if "betas" in group else group.get("momentum", math.nan))


def _scheduler_steps(spec: TrialSpec) -> int:
    train = spec.train
    return train.total_steps if spec.scheduler.interval == "step" else math.ceil(train.total_steps / train.steps_per_epoch)


def _per_optimizer_step(spec: TrialSpec, rows: np.ndarray) -> np.ndarray:
    """Return a row for each optimizer step from one for each scheduler step."""
    if spec.scheduler.interval == "epoch":
        rows = np.repeat(rows, spec.train.steps_per_epoch, axis=0)
    return rows[: spec.train.total_steps].copy()


def _in_scheduler_steps(spec: TrialSpec) -> TrialSpec:
    """Return the run as its scheduler sees it: where that is stepped once an epoch, an epoch is a step."""
    if spec.scheduler.interval == "step":
        return spec
    train = spec.train.model_copy(update={"total_steps": _scheduler_steps(spec), "steps_per_epoch": 1})
    return spec.model_copy(update={"train": train})
