"""Search spaces: the hyperparameters of a config, and the ranges from which a trial draws them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ConfigDict

from lrbench.config.formula import Formula
from lrbench.config.validation import suggestion
from lrbench.spec import ConfigError, PlainData, Value, validated


class _Range(PlainData):
    """`{low: 0.1, high: 1.0, log: true}`. Draws integers if both ends are integers."""

    model_config = ConfigDict(strict=False)
    low: float | int
    high: float | int
    log: bool = False
    when: str | None = None


class _Choice(PlainData):
    """`{choices: [cos, linear]}`."""

    choices: list[Value]
    when: str | None = None


@dataclass(frozen=True)
class Parameter:
    """The distribution of a config key, and the condition under which it is drawn.

    `when` is a formula. Each of its `names` stands for another config key, or for a number.
    """

    distribution: BaseDistribution
    when: str = ""
    names: Mapping[str, str | float] = field(default_factory=dict)

    def applies(self, values: Mapping[str, Value]) -> bool:
        """Return True if the parameter is drawn, given the values that were drawn before it."""
        if not self.when:
            return True
        numbers = {
            name: float(values.get(source, 0)) if isinstance(source, str) else source
            for name, source in self.names.items()
        }
        return bool(Formula(f"1 if {self.when} else 0", numbers)(numbers))

    def suggest(self, trial: optuna.Trial, key: str) -> Value:
        """Draw the value of a trial."""
        distribution = self.distribution
        if isinstance(distribution, FloatDistribution):
            return trial.suggest_float(key, distribution.low, distribution.high, log=distribution.log)
        if isinstance(distribution, IntDistribution):
            return trial.suggest_int(key, distribution.low, distribution.high, log=distribution.log)
        assert isinstance(distribution, CategoricalDistribution)
        value: Any = trial.suggest_categorical(key, distribution.choices)
        assert isinstance(value, Value)  # because _Choice has no others
        return value


Space = dict[str, Parameter]  # by config key


def search_space(cfg: DictConfig) -> Space:
    """Return the search space of the optimizer (with `lr`), the scheduler and its members.

    A part of the space that is null is not searched. Raises ConfigError for an unknown key, for an
    invalid range or condition, and if the configured value is outside its range.
    """
    space: Space = {}
    for section in ("optimizer", "scheduler"):
        for key, node in _components(OmegaConf.to_container(cfg[section]), section):
            _collect(node.get("search") or {}, key, f"{key}.search", cfg, space)
    return space


def _components(node: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a component of the config and the components inside it, each with its key."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield key, node
        for name, inner in node.items():
            if name != "search":
                yield from _components(inner, f"{key}.{name}")


def describe_parameter(parameter: Parameter) -> str:
    """Return the range or the choices as text."""
    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution):
        text = ", ".join(map(str, distribution.choices))
    else:
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        text = f"{distribution.low:g} to {distribution.high:g}{' (log)' if distribution.log else ''}"
    return f"{text} when {parameter.when}" if parameter.when else text


def limits(parameter: Parameter) -> tuple[float, float] | None:
    """Return the ends of the range, None for choices and for a range of one value."""
    distribution = parameter.distribution
    if isinstance(distribution, CategoricalDistribution) or distribution.single():
        return None
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low, distribution.high


def is_log(parameter: Parameter) -> bool:
    """Return True if the parameter is drawn on a logarithmic scale."""
    return bool(getattr(parameter.distribution, "log", False))


def _collect(node: Any, key: str, search_key: str, cfg: DictConfig, space: Space) -> None:
    """Add the parameters for `key` to the space. `search_key` is the place of their ranges."""
    if node is None:
        return
    if not isinstance(node, Mapping):
        raise ConfigError(f"{search_key}={node}: must be {{low: …, high: …}}, {{choices: […]}}, or null for no search")
    if not {"choices", "low", "high"} & node.keys():
        known = OmegaConf.select(cfg, key)
        for name, inner in node.items():
            if not isinstance(known, DictConfig) or name not in known:
                allowed = [str(other) for other in known] if isinstance(known, DictConfig) else []
                raise ConfigError(f"unknown key {search_key}.{name}{suggestion(str(name), allowed)}")
            _collect(inner, f"{key}.{name}", f"{search_key}.{name}", cfg, space)
        return
    kind: type[_Choice] | type[_Range] = _Choice if "choices" in node else _Range
    entry = validated(kind, node, search_key)
    distribution = _distribution(entry, search_key)
    value = OmegaConf.select(cfg, key)
    if not _contains(distribution, value):
        limits = describe_parameter(Parameter(distribution))
        raise ConfigError(f"{key}={value}: must be in the search space, {limits}. Change {search_key} too.")
    names = _names_in_scope(key, cfg, space)
    try:
        Formula(entry.when or "1", names)
    except ValueError as error:
        raise ConfigError(f"{search_key}.when={entry.when}: {error}") from error
    space[key] = Parameter(distribution, entry.when or "", names)


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    """Return True if a trial may have this value."""
    if isinstance(distribution, CategoricalDistribution):
        same_type = (choice for choice in distribution.choices if isinstance(choice, bool) == isinstance(value, bool))
        return value in same_type  # without the types, 1 would equal True
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    whole = isinstance(distribution, FloatDistribution) or isinstance(value, int)
    return number and whole and distribution.low <= value <= distribution.high


def _names_in_scope(key: str, cfg: DictConfig, space: Space) -> dict[str, str | float]:
    """Return the names that a condition may use: the knobs and arguments of the same scheduler.

    A name stands for its config key if that key is searched before `key`, else for its number.
    """
    component = re.sub(r"\.(knobs|args)\.[^.]+$", "", key)
    names: dict[str, str | float] = {}
    for section in ("args", "knobs"):
        for name in OmegaConf.select(cfg, f"{component}.{section}", default={}):
            inner = f"{component}.{section}.{name}"
            value = OmegaConf.select(cfg, inner)
            if inner in space:
                names[name] = inner
            elif isinstance(value, int | float) and inner != key:
                names[name] = float(value)
    return names


def _distribution(entry: _Choice | _Range, search_key: str) -> BaseDistribution:
    try:
        if isinstance(entry, _Choice):
            return CategoricalDistribution(entry.choices)
        if isinstance(entry.low, int) and isinstance(entry.high, int):
            return IntDistribution(entry.low, entry.high, log=entry.log)
        return FloatDistribution(float(entry.low), float(entry.high), log=entry.log)
    except ValueError as error:
        raise ConfigError(f"{search_key}={entry.model_dump()}: {error}") from error
