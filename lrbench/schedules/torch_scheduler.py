"""torch's own scheduler classes, built from a config and run on an optimizer without weights."""

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lrbench.config.formula import Formula
from lrbench.config.targets import locate
from lrbench.spec import ConfigError, TrialSpec

FORMULA_ARGUMENTS = {"lr_lambda": "epoch", "scale_fn": "x"}  # arguments that are functions, and their parameter


def build_scheduler(spec: TrialSpec, optimizer: Optimizer) -> LRScheduler:
    """Return the scheduler of `spec` on `optimizer`, with its formulas as functions.

    Raises ConfigError, or any error of the scheduler itself.
    """
    node = {"_target_": spec.scheduler.target, "args": spec.scheduler.args}
    return _build_node(node, "scheduler", spec, optimizer)


def _build_node(node: Mapping[str, Any], key: str, spec: TrialSpec, optimizer: Optimizer) -> LRScheduler:
    """Return the scheduler at config key `key`, with its members."""
    target = locate(node["_target_"])
    args = {name: _argument(f"{key}.args.{name}", name, value, spec, optimizer) for name, value in node["args"].items()}
    known = [name for name in inspect.signature(target).parameters if name != "optimizer"]
    unknown = [name for name in args if name not in known]
    if unknown:
        name = f"{key}.args.{unknown[0]}"
        raise ConfigError(f"{name}: unknown argument of {node['_target_']}. Allowed: {', '.join(known)}")
    return target(optimizer=optimizer, **args)  # type: ignore[no-any-return]


def _argument(key: str, name: str, value: Any, spec: TrialSpec, optimizer: Optimizer) -> Any:
    """Return an argument of the config as torch's class takes it. `key` is its config key."""
    if isinstance(value, Mapping) and "_target_" in value:
        return _build_node(value, key, spec, optimizer)
    if isinstance(value, list):
        return [_argument(f"{key}[{place}]", name, item, spec, optimizer) for place, item in enumerate(value)]
    if name in FORMULA_ARGUMENTS and value is not None:
        return _callable_formula(key, name, str(value), spec)
    return value


def _callable_formula(key: str, name: str, text: str, spec: TrialSpec) -> Callable[[float], float]:
    """Return a formula as the function that torch calls.

    Its parameter is the scheduler's step (LambdaLR) or the finished part of a cycle (CyclicLR).
    """
    knobs = {key: float(value) for key, value in spec.scheduler.knobs.items() if isinstance(value, int | float)}
    train, per_epoch = spec.train, spec.train.steps_per_epoch
    steps_per_call = 1 if spec.scheduler.interval == "step" else per_epoch
    lengths = {
        "total_steps": float(train.total_steps),
        "total_epochs": train.epochs,
        "scheduler_steps": float(scheduler_steps(spec)),
    }
    constants = {**knobs, **lengths}
    try:
        if FORMULA_ARGUMENTS[name] == "x":
            scale = Formula(text, {*constants, "x"})
            return lambda x: scale({**constants, "x": float(x)})
        factor = Formula(text, {*constants, "step", "epoch", "progress"})
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error

    def factor_at(scheduler_step: float) -> float:
        step = scheduler_step * steps_per_call
        position = {"step": step, "epoch": step / per_epoch, "progress": step / train.total_steps}
        return factor({**constants, **position})

    return factor_at


class _DummyOptimizer(Optimizer):
    """An optimizer without weights, for a scheduler that sets its learning rate and momentum.

    torch's own optimizers import the compiler for their first group of weights, which takes longer
    than most tables.
    """

    def __init__(self, args: Mapping[str, Any]) -> None:
        self.defaults = dict(args)
        self.param_groups = [{"params": [], **args}]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch's returns the loss of a closure
        """Do nothing: there are no weights."""


def dummy_optimizer(spec: TrialSpec) -> Optimizer:
    """Return an optimizer with the learning rate and the arguments of `spec`, without weights."""
    args = {name: tuple(value) if isinstance(value, list) else value for name, value in spec.optimizer.args.items()}
    return _DummyOptimizer({"lr": spec.optimizer.lr, **args})


def run_scheduler(scheduler: LRScheduler, optimizer: Optimizer, steps: int) -> np.ndarray:
    """Return the learning rate and the momentum of each scheduler step: shape (steps, 2)."""
    group = optimizer.param_groups[0]
    rows = np.empty((steps, 2))
    rows[0] = group["lr"], momentum_of(optimizer)
    optimizer.step()  # otherwise torch warns that the scheduler was stepped before the optimizer
    for row in range(1, steps):
        scheduler.step()
        rows[row] = group["lr"], momentum_of(optimizer)
    return rows


@contextmanager
def without_torch_warnings() -> Iterator[None]:
    """Silence two warnings of torch about its own composites.

    SequentialLR passes an epoch to its members, which torch deprecates. Composites step their
    members when they are built, before the optimizer's first step.
    """
    with warnings.catch_warnings():
        for message in ("The epoch parameter in `scheduler.step", "Detected call of `lr_scheduler.step"):
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield


def momentum_of(optimizer: Optimizer) -> float:
    """Return the momentum of an optimizer: beta1 if it has betas, NaN if it has neither."""
    group = optimizer.param_groups[0]
    return float(group["betas"][0] if "betas" in group else group.get("momentum", math.nan))


def scheduler_steps(spec: TrialSpec) -> int:
    """Return how many steps the scheduler takes in the run."""
    train = spec.train
    if spec.scheduler.interval == "step":
        return train.total_steps
    return math.ceil(train.total_steps / train.steps_per_epoch)
