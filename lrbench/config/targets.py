"""`_target_`: the classes and functions that a config may name, and their import."""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lrbench.spec import ConfigError

ALLOWED = {  # dotted prefixes of the targets in a section of the config; the key `allow` adds others
    "scheduler": ("torch.optim", "lrbench.factors", "lrbench.schedules"),
    "optimizer": ("torch.optim",),
    "model": ("lrbench.models",),
    "data": ("lrbench.data",),
    "sampler": ("optuna.samplers",),
    "pruner": ("optuna.pruners",),
    "executor": ("lrbench.executors",),
}


def check_targets(node: Any, section: str, allow: Sequence[str] = ()) -> None:
    """Raise ConfigError if a section of a config names a target whose prefix is not allowed.

    This check is the boundary between a config and the code that it can start.
    """
    allowed = (*ALLOWED[section], *allow)
    for key, target in _targets(node, section):
        if not any(str(target).startswith(f"{prefix}.") for prefix in allowed):
            raise ConfigError(
                f"{key}={target}: must start with {' or '.join(allowed)}. Add another prefix with allow=[…]"
            )


def locate(target: str) -> Callable[..., Any]:
    """Return the class or function that a dotted path names.

    Raises ConfigError if there is no such name, or if its package only imports it: a path such as
    `torch.optim.lr_scheduler.partial` would lead out of torch.
    """
    module_name, _, name = target.rpartition(".")
    package = target.partition(".")[0]
    try:
        value = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"_target_={target}: must be a class or function ({error}). "
            "Check the spelling, and that the module is on the Python path"
        ) from error
    defining_module = str(getattr(value, "__module__", ""))
    if not callable(value) or defining_module.partition(".")[0] != package:
        raise ConfigError(f"_target_={target}: must be a class or function that {package} defines")
    return value  # type: ignore[no-any-return]


def _targets(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield the config key and the value of each `_target_` inside a node."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping):
        items = node.items()
    elif isinstance(node, list):
        items = enumerate(node)
    for name, value in items:
        inner = f"{key}.{name}".lstrip(".")
        if name == "_target_":
            yield inner, value
        yield from _targets(value, inner)
