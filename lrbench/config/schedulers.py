"""The schedulers that a command line names, and the config of each."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from lrbench.config.compose import group_options, load_config
from lrbench.config.resolvers import explain_interpolation
from lrbench.config.validation import suggestion
from lrbench.spec import ConfigError

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def scheduler_names(schedulers: object) -> list[str]:
    """Return the names that the key `schedulers` means: `all`, a list, or a single name.

    Raises ConfigError for an unknown name, and for an empty list.
    """
    known = group_options("scheduler")
    if schedulers == "all":
        return known
    given = schedulers if isinstance(schedulers, list) else [schedulers]
    names = list(dict.fromkeys(map(str, given)))
    for name in names:
        if name not in known:
            raise ConfigError(f"schedulers={name}: unknown{suggestion(name, known)}")
    if not names:
        raise ConfigError(f"schedulers=[]: must name at least one scheduler{suggestion('', known)}")
    return names


def without_scheduler_keys(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that fit the config of every scheduler."""
    return [text for text in overrides if not text.lstrip("+~").startswith("scheduler.")]


def load_each(config_name: str, overrides: Sequence[str], schedulers: Sequence[str]) -> dict[str, DictConfig]:
    """Return the config of each scheduler, by its name.

    Raises ConfigError with the name of the scheduler that an override does not fit.
    """
    choices = {name: f"scheduler={name}" for name in schedulers}
    return for_each_scheduler(choices, lambda choice: load_config(config_name, [*overrides, choice]))


def for_each_scheduler(items: Mapping[str, _In], convert: Callable[[_In], _Out]) -> dict[str, _Out]:
    """Convert the item of each scheduler.

    Raises ConfigError, with the name of the first scheduler that fails unless all fail alike.
    """
    converted, failures = _tried(items, convert)
    if failures:
        raise _first_failure(converted, failures)
    return converted


def where_possible(items: Mapping[str, _In], convert: Callable[[_In], _Out]) -> tuple[dict[str, _Out], dict[str, str]]:
    """Convert the item of each scheduler where possible, and return the messages of the others.

    Raises ConfigError if it is possible for none.
    """
    converted, failures = _tried(items, convert)
    if not converted:
        raise _first_failure(converted, failures)
    return converted, failures


def _tried(items: Mapping[str, _In], convert: Callable[[_In], _Out]) -> tuple[dict[str, _Out], dict[str, str]]:
    """Return the converted items, and the messages of those that are invalid."""
    converted: dict[str, _Out] = {}
    failures: dict[str, str] = {}
    for name, item in items.items():
        try:
            converted[name] = convert(item)
        except ConfigError as error:
            failures[name] = str(error)
        except InterpolationResolutionError as error:
            failures[name] = explain_interpolation(error, str(error.full_key))
    return converted, failures


def _first_failure(converted: Mapping[str, object], failures: Mapping[str, str]) -> ConfigError:
    name, message = next(iter(failures.items()))
    all_alike = not converted and len(set(failures.values())) == 1
    return ConfigError(message if all_alike else f"scheduler={name}: {message}")


def configs_of_curves(overrides: Sequence[str]) -> dict[str, DictConfig]:
    """Return the config of each scheduler that a command line of `lrbench.curves` names."""
    single = [text for text in overrides if text.startswith("scheduler=")]
    schedulers = load_config("curves", without_scheduler_keys(overrides)).schedulers
    if schedulers is None:
        cfg = load_config("curves", overrides)
        return {cfg.scheduler.name: cfg}
    if single:
        raise ConfigError(f"{single[0]} and schedulers={schedulers}: must not both be given. Use one of them.")
    names = scheduler_names(OmegaConf.to_container(schedulers) if OmegaConf.is_config(schedulers) else schedulers)
    return load_each("curves", overrides, names)
