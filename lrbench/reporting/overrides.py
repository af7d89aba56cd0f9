"""Sampled values as they are written on a command line."""

from collections.abc import Mapping

from lrbench.spec import Value


def overrides(values: Mapping[str, Value]) -> list[str]:
    """Return values by config key as overrides, with four digits.

    >>> overrides({"optimizer.lr": 0.123456, "scheduler.knobs.cycles": 2})
    ['optimizer.lr=0.1235', 'scheduler.knobs.cycles=2']
    """
    return [f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()]
