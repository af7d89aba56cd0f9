"""How long a run is in steps, and what the resolvers of the YAML files mean: `${steps:0.25}`, `${epochs:5}`, `${rate:0.1}`, `${formula:…}`.

The unit is the scheduler's own: optimizer steps, or epochs with `interval: epoch`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from lrbench.formula import Formula
from lrbench.spec import MAX_STEPS, ConfigError


def train_images(root: DictConfig) -> int:
    """Return how many images a config trains on. Raises ConfigError where there are not so many."""
    data = root.data
    available = data.images - data.holdout_images
    wanted = available if data.train_images is None else data.train_images
    if not 1 <= wanted <= available:
        raise ConfigError(f"data.train_images={wanted}: from 1 to {available}, as {data.holdout_images} of {data.images} are held out")
    return int(wanted)


def steps_per_epoch(root: DictConfig) -> int:
    """Return the whole batches of an epoch. Raises ConfigError for a batch that is larger."""
    images, batch = train_images(root), root.train.batch_size
    if not isinstance(batch, int) or not 1 <= batch <= images:
        raise ConfigError(f"train.batch_size={batch}: from 1 to the {images} training images")
    return images // batch


def total_steps(root: DictConfig) -> int:
    """Return the optimizer steps of the run. Raises ConfigError where there are none, or too many."""
    epochs = root.train.epochs
    steps = round(epochs * steps_per_epoch(root)) if math.isfinite(epochs) else 0
    if not 1 <= steps <= MAX_STEPS:
        raise ConfigError(f"train.epochs={epochs}: {steps} optimizer steps; from 1 to {MAX_STEPS} are possible")
    return steps


def _length(root: DictConfig, node: Any) -> int:
    """Return how often the scheduler around `node` is stepped: in the run, or in its part of a sequence."""
    while node is not None:
        siblings = node._get_parent()
        if isinstance(node, DictConfig) and "fraction" in node and siblings is not None and siblings._key() == "parts":
            fractions = [part.fraction for part in siblings.values()]
            bounds = part_bounds(fractions, _length(root, siblings._get_parent()))
            number = list(siblings).index(node._key())
            return bounds[number + 1] - bounds[number]
        node = siblings
    return total_steps(root) if root.scheduler.interval == "step" else math.ceil(root.train.epochs)


def part_bounds(fractions: Sequence[float | None], steps: int) -> list[int]:
    """Return where the parts of a sequence begin, and where the last one ends; one fraction may be None, for what is left.

    >>> part_bounds([0.1, None, 0.25], 40)
    [0, 4, 30, 40]
    """
    key, known = "scheduler.args.parts", [fraction for fraction in fractions if fraction is not None]
    if not all(isinstance(fraction, int | float) and 0 < fraction <= 1 for fraction in known):
        raise ConfigError(f"{key}: fractions {known}; each is above 0 and at most 1")
    rest = 1 - sum(known)
    if (
        len(known) < len(fractions) - 1
        or rest < -1e-9
        or (len(known) == len(fractions) and rest > 1e-9)
        or (len(known) < len(fractions) and rest <= 0)
    ):
        raise ConfigError(f"{key}: fractions {list(fractions)}; they make 1 together, where one may be null for what is left")
    whole = np.cumsum([0.0, *(rest if fraction is None else fraction for fraction in fractions)])
    bounds = [round(edge * steps) for edge in whole]
    if len(set(bounds)) < len(bounds):
        raise ConfigError(f"{key}: fractions {list(fractions)} of {steps} steps leave a part without a step")
    return bounds


def _knobs(parent: Any) -> Mapping[str, float]:
    """Return the numbers that stand beside a value: the knobs and arguments of the scheduler around it."""
    while not (isinstance(parent, DictConfig) and "knobs" in parent):
        parent = parent._get_parent()
    args = {name: parent.args[name] for name in parent.args if not OmegaConf.is_interpolation(parent.args, name)}
    numbers = {**args, **parent.knobs}
    return {str(name): value for name, value in numbers.items() if isinstance(value, int | float)}


def _resolve_steps(fraction: float, _root_: DictConfig, _parent_: Any) -> int:
    """`${steps:0.25}`: that fraction of the run, rounded up to whole scheduler steps."""
    if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        raise ConfigError(f"{fraction} is no fraction of the run: 0 to 1 is allowed")
    return math.ceil(fraction * _length(_root_, _parent_) - 1e-9)


def _resolve_epochs(epochs: float, _root_: DictConfig) -> int:
    """`${epochs:5}`: that many epochs in scheduler steps."""
    if not isinstance(epochs, int | float) or not 0 <= epochs <= _root_.train.epochs:
        raise ConfigError(f"{epochs} epochs do not lie in the run: 0 to train.epochs={_root_.train.epochs} is allowed")
    return round(epochs * (steps_per_epoch(_root_) if _root_.scheduler.interval == "step" else 1))


def _resolve_rate(fraction: float, _root_: DictConfig) -> float:
    """`${rate:0.1}`: that fraction of the peak rate."""
    if not isinstance(fraction, int | float) or not math.isfinite(fraction) or fraction < 0:
        raise ConfigError(f"{fraction} is no fraction of the peak rate: a number from 0 is expected")
    return float(fraction * _root_.optimizer.lr)


def _resolve_formula(text: str, _root_: DictConfig, _parent_: Any) -> float:
    """`${formula:'1 - warmup'}`: a formula of the scheduler's knobs, its arguments, lr and scheduler_steps."""
    names = {**_knobs(_parent_), "lr": _root_.optimizer.lr, "scheduler_steps": _length(_root_, _parent_)}
    try:
        return Formula(text, names)(names)
    except ValueError as error:
        raise ConfigError(str(error)) from error


OmegaConf.register_new_resolver("steps", _resolve_steps, replace=True)
OmegaConf.register_new_resolver("epochs", _resolve_epochs, replace=True)
OmegaConf.register_new_resolver("rate", _resolve_rate, replace=True)
OmegaConf.register_new_resolver("formula", _resolve_formula, replace=True)
