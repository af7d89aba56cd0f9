"""Statistics of comparison: arrays in, numbers out."""

from typing import NamedTuple

import numpy as np
from scipy import stats

MIN_PAIRS = 6  # with fewer, no two-sided signed-rank test reaches 5 %: 2 / 2**5 = 0.0625


class Interval(NamedTuple):
    """A mean and the ends of its 95 % interval; the ends are nan where there are fewer than two values."""

    mean: float
    low: float
    high: float


def t_interval(values: np.ndarray) -> Interval:
    """Return the mean of `values`, shape (n,), and its 95 % interval by Student's t.

    >>> t_interval(np.array([1.0, 2.0, 3.0]))  # 2 -+ 4.303 * 1 / sqrt(3)
    Interval(mean=2.0, low=-0.484..., high=4.484...)
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def paired_difference(values: np.ndarray, others: np.ndarray) -> Interval:
    """Return the mean of `values - others`, each of shape (n,) and paired by seed, and its 95 % interval by Student's t."""
    return t_interval(np.asarray(values) - np.asarray(others))
