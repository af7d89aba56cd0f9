"""The length of a run, of its epochs and of the parts of a sequence, in whole steps.

Hydra's resolvers use them too, so these functions read the composed config, not a TrialSpec.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from omegaconf import DictConfig

from lrbench.config.omegaconf_internals import key_of, parent_of
from lrbench.spec import MAX_STEPS, ConfigError

ROUNDING = 1e-9  # the error that a sum of fractions may have


def train_images(root: DictConfig) -> int:
    """Return the number of images that a config trains on.

    Raises ConfigError if the data set has fewer.
    """
    data = root.data
    available = data.images - data.holdout_images
    wanted = available if data.train_images is None else data.train_images
    if available < 1:
        raise ConfigError(
            f"data.holdout_images={data.holdout_images}: must be less than data.images={data.images}, "
            "because a run needs images to train on"
        )
    if not 1 <= wanted <= available:
        raise ConfigError(
            f"data.train_images={wanted}: must be from 1 to {available}, "
            f"because {data.holdout_images} of {data.images} images are held out"
        )
    return int(wanted)


def steps_per_epoch(root: DictConfig) -> int:
    """Return the number of whole batches in an epoch.

    Raises ConfigError if a batch is larger than the training images.
    """
    images, batch = train_images(root), root.train.batch_size
    if not isinstance(batch, int) or not 1 <= batch <= images:
        raise ConfigError(f"train.batch_size={batch}: must be from 1 to {images}, the number of training images")
    return images // batch


def total_steps(root: DictConfig) -> int:
    """Return the number of optimizer steps of the run.

    Raises ConfigError if it is zero or above MAX_STEPS.
    """
    epochs = root.train.epochs
    steps = round(epochs * steps_per_epoch(root)) if math.isfinite(epochs) else 0
    if not 1 <= steps <= MAX_STEPS:
        raise ConfigError(f"train.epochs={epochs}: must give from 1 to {MAX_STEPS} optimizer steps; got {steps}")
    return steps


def scheduler_steps_around(root: DictConfig, node: Any) -> int:
    """Return how many steps the scheduler around `node` takes in its part of a sequence, or in the
    run if it is in no sequence. With `interval: epoch`, it takes one step per epoch.
    """
    while node is not None:
        siblings = parent_of(node)
        if isinstance(node, DictConfig) and "fraction" in node and siblings is not None and key_of(siblings) == "parts":
            fractions = [part.fraction for part in siblings.values()]
            bounds = part_bounds(fractions, scheduler_steps_around(root, parent_of(siblings)))
            number = list(siblings).index(key_of(node))
            return bounds[number + 1] - bounds[number]
        node = siblings
    return total_steps(root) if root.scheduler.interval == "step" else math.ceil(root.train.epochs)


def part_bounds(fractions: Sequence[float | None], steps: int) -> list[int]:
    """Return the first step of each part of a sequence, and the end of the last part.

    One fraction may be None: that part takes the remainder. Raises ConfigError.

    >>> part_bounds([0.1, None, 0.25], 40)
    [0, 4, 30, 40]
    """
    _check_fractions(fractions)
    remainder = 1 - sum(fraction for fraction in fractions if fraction is not None)
    edges = np.cumsum([0.0, *(remainder if fraction is None else fraction for fraction in fractions)])
    bounds = [round(edge * steps) for edge in edges]
    if len(set(bounds)) < len(bounds):
        raise ConfigError(
            f"scheduler.args.parts: each part must have at least one of the {steps} steps; "
            f"got fractions {list(fractions)}"
        )
    return bounds


def _check_fractions(fractions: Sequence[float | None]) -> None:
    known = [fraction for fraction in fractions if fraction is not None]
    if not all(isinstance(fraction, int | float) and 0 < fraction <= 1 for fraction in known):
        raise ConfigError(f"scheduler.args.parts: each fraction must be above 0 and at most 1; got {known}")
    nulls, remainder = len(fractions) - len(known), 1 - sum(known)
    several_nulls = nulls > 1
    nothing_for_null = nulls == 1 and remainder <= 0
    sum_is_not_one = nulls == 0 and abs(remainder) > ROUNDING
    if several_nulls or nothing_for_null or sum_is_not_one:
        raise ConfigError(
            f"scheduler.args.parts: fractions must sum to 1; got {list(fractions)}. "
            "One of them may be null and takes the remainder."
        )
