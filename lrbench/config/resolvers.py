"""The resolvers of the YAML files: `${steps:0.25}`, `${epochs:5}`, `${rate:0.1}`, `${formula:…}`.

`steps` and `epochs` count the scheduler's steps: optimizer steps, or epochs with `interval: epoch`.
Inside a part of a sequence, `${steps:…}` and `scheduler_steps` mean the steps of that part.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from lrbench.config.formula import Formula
from lrbench.config.lengths import scheduler_steps_around, steps_per_epoch
from lrbench.config.omegaconf_internals import parent_of
from lrbench.spec import ConfigError


def register_resolvers() -> None:
    """Register the resolvers with OmegaConf, in this process."""
    resolvers: dict[str, Callable[..., Any]] = {
        "steps": _resolve_steps,
        "epochs": _resolve_epochs,
        "rate": _resolve_rate,
        "formula": _resolve_formula,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def explain_interpolation(error: InterpolationResolutionError, given: str) -> str:
    """Return the message of an interpolation that has no value. `given` is its key, or key=value.

    A ConfigError in a resolver is about another key, which its message names.
    """
    kinds, _, reason = str(error).splitlines()[0].rpartition(" raised while resolving interpolation: ")
    return reason if kinds.endswith(ConfigError.__name__) else f"{given}: {reason}"


def _resolve_steps(fraction: float, _root_: DictConfig, _parent_: Any) -> int:
    """`${steps:0.25}`: that fraction of the run, rounded up to whole scheduler steps."""
    if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        raise ValueError(f"the fraction of the run must be between 0 and 1; got {fraction}")
    return math.ceil(fraction * scheduler_steps_around(_root_, _parent_) - 1e-9)


def _resolve_epochs(epochs: float, _root_: DictConfig) -> int:
    """`${epochs:5}`: that many epochs in scheduler steps."""
    if not isinstance(epochs, int | float) or not 0 <= epochs <= _root_.train.epochs:
        raise ValueError(f"the epochs must be between 0 and train.epochs={_root_.train.epochs}; got {epochs}")
    return round(epochs * (steps_per_epoch(_root_) if _root_.scheduler.interval == "step" else 1))


def _resolve_rate(fraction: float, _root_: DictConfig) -> float:
    """`${rate:0.1}`: that fraction of the peak rate."""
    if not isinstance(fraction, int | float) or not math.isfinite(fraction) or fraction < 0:
        raise ValueError(f"the fraction of the peak rate must be at least 0; got {fraction}")
    return float(fraction * _root_.optimizer.lr)


def _resolve_formula(text: str, _root_: DictConfig, _parent_: Any) -> float:
    """`${formula:'1 - warmup'}`: a formula of the scheduler's knobs and arguments, `lr` (the peak
    rate) and `scheduler_steps`.
    """
    names = {
        **_numbers_of_scheduler(_parent_),
        "lr": _root_.optimizer.lr,
        "scheduler_steps": scheduler_steps_around(_root_, _parent_),
    }
    return Formula(text, names)(names)


def _numbers_of_scheduler(node: Any) -> Mapping[str, float]:
    """Return the numbers among the knobs and arguments of the scheduler around a node."""
    while node is not None and not (isinstance(node, DictConfig) and "knobs" in node):
        node = parent_of(node)
    if node is None:
        raise ValueError("a formula must be inside a scheduler's config")
    args = {name: node.args[name] for name in node.args if not OmegaConf.is_interpolation(node.args, name)}
    numbers = {**args, **node.knobs}
    return {str(name): value for name, value in numbers.items() if isinstance(value, int | float)}
