"""The search spaces of a sweep, and the choices near an end of their range."""

import math
from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from lrbench.analysis.ranking import Ranking
from lrbench.analysis.row import Row
from lrbench.config.resolvers import register_resolvers
from lrbench.search.space import Parameter, Space, is_log, limits, search_space
from lrbench.spec import Value

NEAR_END = 0.05  # of the searched range, on its scale
NATURAL_ENDS = (0, 1)  # a range that ends there cannot be extended in most cases: fractions and factors


def search_spaces(ranking: Ranking, settings: Mapping[str, Any]) -> dict[str, Space]:
    """Return the search space of each scheduler from the sweep's config.yaml, empty without it."""
    return {row.scheduler: _space(settings, row.scheduler) for row in ranking.rows if "scheduler" in settings}


def at_an_end(row: Row, space: Space) -> list[str]:
    """Return the hyperparameters that at least half of a scheduler's searches chose near an end.

    Each is a text such as `lr high`.
    """
    found = []
    for key, parameter in space.items():
        ends = [_end(parameter, outcome.arguments[key]) for outcome in row.outcomes if key in outcome.arguments]
        found += [f"{short_key(key)} {end}" for end in ("low", "high") if 2 * ends.count(end) >= len(row.outcomes)]
    return found


def short_key(key: str) -> str:
    """Return the last part of a config key.

    >>> short_key("scheduler.knobs.warmup")
    'warmup'
    """
    return key.removeprefix("scheduler.").removeprefix("knobs.").removeprefix("args.").removeprefix("optimizer.")


def _space(settings: Mapping[str, Any], scheduler: str) -> Space:
    register_resolvers()
    return search_space(OmegaConf.create({**settings, "scheduler": settings["scheduler"][scheduler]}))


def _end(parameter: Parameter, value: Value) -> str:
    """Return `low` or `high` if a value is near that end of its range, else an empty text."""
    ends = limits(parameter)
    if ends is None or isinstance(value, str):
        return ""
    low, high = ends
    place = (value - low) / (high - low)
    if is_log(parameter):
        place = math.log(value / low) / math.log(high / low)
    if place < NEAR_END and low not in NATURAL_ENDS:
        return "low"
    return "high" if place > 1 - NEAR_END and high not in NATURAL_ENDS else ""
