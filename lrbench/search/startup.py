"""The first trials of a search: points that are spread over its space."""

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from lrbench.search.space import Space
from lrbench.spec import Value

MAX_PARAMETERS = 64  # the points have so many coordinates in every space, so that similar spaces share them


def spread_points(space: Space, count: int, seed: int) -> list[dict[str, Value]]:
    """Return `count` points of a scrambled Sobol sequence (Owen 1998) in a search space.

    With the same seed, the n-th parameter of every space gets the same places in its range. So
    schedulers with the same first parameters, such as the peak rate, start from the same values.
    More points continue the sequence.
    """
    if count < 1:
        return []
    places = _sobol(count, seed)
    return [_values(space, row) for row in places]


def _sobol(count: int, seed: int) -> np.ndarray:
    """Return points in the unit cube, shape (count, MAX_PARAMETERS)."""
    from scipy.stats import qmc  # takes half a second, which a finished search does not need

    sequence = qmc.Sobol(MAX_PARAMETERS, scramble=True, rng=np.random.default_rng(seed))
    return np.asarray(sequence.random_base2((count - 1).bit_length())[:count])


def _values(space: Space, places: np.ndarray) -> dict[str, Value]:
    """Return the values at a point. A parameter whose condition does not hold has no value."""
    values: dict[str, Value] = {}
    for place, (key, parameter) in zip(places, space.items(), strict=False):
        if parameter.applies(values):
            values[key] = _value(parameter.distribution, float(place))
    return values


def _value(distribution: BaseDistribution, place: float) -> Any:
    """Return the value of a distribution at a place in its range, 0 to 1 (exclusive)."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(place * len(distribution.choices))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    whole = isinstance(distribution, IntDistribution)
    low, high = (distribution.low - 0.5, distribution.high + 0.5) if whole else (distribution.low, distribution.high)
    if distribution.log:
        low, high = np.log(low), np.log(high)
    value = float(low + place * (high - low))
    if distribution.log:
        value = float(np.exp(value))
    if whole:
        value = round(value)
    return type(distribution.low)(min(max(value, distribution.low), distribution.high))
