"""Samplers and pruners from the config: Optuna's, or the user's own under `allow`."""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna

from lrbench.config.targets import locate
from lrbench.spec import ConfigError


def build_sampler(component: Mapping[str, Any], seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return a new sampler for the trial `number`. Raises ConfigError.

    If the sampler takes an argument `seed`, it depends on both numbers. With one fixed seed, each
    sampler would repeat its first points.
    """
    trial_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    sampler = _build(component, "sampler", {"seed": trial_seed})
    if not isinstance(sampler, optuna.samplers.BaseSampler):
        raise ConfigError(
            f"sampler._target_={component['_target_']}: must be a subclass of optuna.samplers.BaseSampler"
        )
    return sampler


def build_pruner(component: Mapping[str, Any]) -> optuna.pruners.BasePruner:
    """Return a pruner. Raises ConfigError."""
    pruner = _build(component, "pruner", {})
    if not isinstance(pruner, optuna.pruners.BasePruner):
        raise ConfigError(f"pruner._target_={component['_target_']}: must be a subclass of optuna.pruners.BasePruner")
    return pruner


def _build(component: Mapping[str, Any], key: str, optional: Mapping[str, Any]) -> object:
    """Build a component from its config, with those `optional` arguments that it takes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            target = locate(component["_target_"])
            known = inspect.signature(target).parameters
            taken = {name: value for name, value in optional.items() if name in known}
            return target(**{**taken, **component["args"]})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{key}={component['name']}: {error}") from error
