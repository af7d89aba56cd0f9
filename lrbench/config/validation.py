"""Checks of the user's keys and types against the config files."""

import difflib
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError

from lrbench.spec import ConfigError

_CHECKED_ELSEWHERE = ("hydra", "schedulers", "scheduler.search", "optimizer.search", "scheduler.args.schedulers")
_NULLABLE = ("scheduler.args.", "data.train_images", "final_train_images")  # keys, or their beginning
_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}


def suggestion(name: str, names: Sequence[str]) -> str:
    """Return the end of a message about an unknown name: close matches, then all allowed names."""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    guess = f"; did you mean {' or '.join(close)}?" if close else "."
    return f"{guess} Allowed: {', '.join(sorted(names)) or 'nothing'}"


def check_keys(given: DictConfig | ListConfig, known: DictConfig | ListConfig, key: str) -> None:
    """Check the container `given` at config key `key` against `known`, its form in the files.

    Raises ConfigError for a key that the files lack, and for a value of another type.
    """
    names: Sequence[Any] = list(given) if isinstance(given, DictConfig) else range(len(given))
    for name in names:
        inner = f"{key}.{name}".lstrip(".")
        if isinstance(known, DictConfig) and name not in known:
            raise ConfigError(f"unknown key {inner}{suggestion(str(name), [str(other) for other in known])}")
        if inner in _CHECKED_ELSEWHERE or OmegaConf.is_interpolation(given, name):
            continue
        _check_type(given[name], _example(known, name), inner)


def _example(known: DictConfig | ListConfig, name: Any) -> Any:
    """Return the files' value for a key. None means that any value passes.

    A list may have any number of items, each like the item of the files at its place, or the last.
    """
    if isinstance(known, ListConfig):
        if not len(known):
            return None
        name = min(name, len(known) - 1)
    try:
        return known[name]
    except InterpolationResolutionError:  # it depends on values that the command line changes
        return None


def _check_type(given: Any, known: Any, key: str) -> None:
    if known is None or (given is None and key.startswith(_NULLABLE)):
        return
    value = "null" if given is None else given
    for container, name in ((DictConfig, "a mapping"), (ListConfig, "a list")):
        if isinstance(given, container) != isinstance(known, container):
            wanted = name if isinstance(known, container) else "a single value"
            raise ConfigError(f"{key}={value}: must be {wanted}, such as {known}")
    if isinstance(known, DictConfig | ListConfig):
        check_keys(given, known, key)
    elif not _fits(given, type(known)):
        raise ConfigError(f"{key}={value}: must be {_TYPE_NAMES[type(known)]}, such as {known}")


def _fits(value: Any, kind: type) -> bool:
    """Return True if a single value may stand in the place of a value of type `kind`."""
    if kind is bool:
        return isinstance(value, bool)
    if kind is str:  # also a number: for `auto`, or for a formula that is a constant
        return value is not None and not isinstance(value, bool)
    return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
