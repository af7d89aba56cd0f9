"""Search a scheduler's hyperparameters: the only file that knows Optuna."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from pydantic import ConfigDict

from lrbench.config import ConfigError, Spec, validated

Value = float | int | str | bool
Space = dict[str, BaseDistribution]  # config key to what may be drawn

optuna.logging.set_verbosity(optuna.logging.WARNING)


class _Range(Spec):
    """`{low: 0.1, high: 1.0, log: true}`; whole numbers where both ends are."""

    model_config = ConfigDict(strict=False)
    low: float | int
    high: float | int
    log: bool = False


class _Choice(Spec):
    """`{choices: [cos, linear]}`."""

    choices: list[Value]


def space(cfg: DictConfig) -> Space:
    """Return the search space of a config: that of its optimizer, the peak rate among it, and that of its scheduler.

    Raises ConfigError for a range that is none, and where the config's own value lies outside.
    """
    found: Space = {}
    for section in ("optimizer", "scheduler"):
        _collect(OmegaConf.to_container(cfg[section].search), section, f"{section}.search", found)
    for key, distribution in found.items():
        value = OmegaConf.select(cfg, key)
        if value is None or not distribution._contains(distribution.to_internal_repr(value)):
            raise ConfigError(f"{key}={value}: outside of what is searched, {describe(distribution)}; change {_search_key(key)} too")
    return found


def describe(distribution: BaseDistribution) -> str:
    """Return a distribution as a person would write it."""
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return f"{distribution.low:g} to {distribution.high:g}{' (log)' if distribution.log else ''}"


def sampler(component: Mapping[str, Any], seed: int, number: int) -> optuna.samplers.BaseSampler:
    """Return a sampler for one trial: one seeded alike at each start would repeat its first points. Raises ConfigError."""
    name = str(component["_target_"]).removeprefix("optuna.samplers.")
    kind = getattr(optuna.samplers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, optuna.samplers.BaseSampler)):
        raise ConfigError(f"sampler._target_={component['_target_']}: a class of optuna.samplers is expected")
    trial_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return kind(**{"seed": trial_seed, **component["args"]})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"sampler={component['name']}: {error}") from error


class Study:
    """The search of one scheduler. Trial numbers count from 0, which is the config as it stands.

    What is asked depends on the seed and on what was told before, in this order, and on nothing else.
    """

    def __init__(
        self, journal: Path, name: str, space: Space, defaults: Mapping[str, Value], sampler_config: Mapping[str, Any], seed: int
    ) -> None:
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))
        self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        self._space, self._defaults, self._sampler, self._seed = space, defaults, sampler_config, seed
        self._trials: list[FrozenTrial] = self._study.get_trials(deepcopy=False)

    def ask(self, number: int) -> dict[str, Value]:
        """Return the values of a trial by config key; those of a trial that was asked before are kept."""
        if number < len(self._trials):
            return dict(self._trials[number].params)
        self._study.sampler = sampler(self._sampler, self._seed, number)
        if number == 0:
            self._study.enqueue_trial(dict(self._defaults))
        trial = self._study.ask(self._space)
        assert trial.number == number
        self._trials.append(self._study.get_trials(deepcopy=False)[number])
        return dict(trial.params)

    def tell(self, number: int, value: float | None) -> None:
        """Tell the accuracy of a trial; None for one that failed."""
        if not self._trials[number].state.is_finished():
            state = TrialState.FAIL if value is None else TrialState.COMPLETE
            self._trials[number] = self._study.tell(number, value, state=state)


def _collect(node: Any, key: str, written: str, found: Space) -> None:
    if not isinstance(node, Mapping):
        raise ConfigError(f"{written}={node}: {{low: …, high: …}} or {{choices: […]}} is expected")
    if "choices" in node:
        found[key] = CategoricalDistribution(validated(_Choice, node, written).choices)
    elif "low" in node or "high" in node:
        found[key] = _distribution(validated(_Range, node, written), written)
    else:
        for name, inner in node.items():
            _collect(inner, f"{key}.{name}", f"{written}.{name}", found)


def _distribution(given: _Range, written: str) -> BaseDistribution:
    try:
        if isinstance(given.low, int) and isinstance(given.high, int):
            return IntDistribution(given.low, given.high, log=given.log)
        return FloatDistribution(float(given.low), float(given.high), log=given.log)
    except ValueError as error:
        raise ConfigError(f"{written}={given.model_dump()}: {error}") from error


def _search_key(key: str) -> str:
    section, _, rest = key.partition(".")
    return f"{section}.search.{rest}"
