"""The statistics of a comparison: arrays in, numbers out."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05  # the significance level of a family of tests
MIN_PAIRS = 6  # with fewer, no two-sided signed-rank test reaches 5 %: 2 / 2**5 = 0.0625
MIN_RANKED = 3  # schedulers that a Friedman test compares


class Interval(NamedTuple):
    """A mean and the ends of its interval. The ends are NaN for fewer than two values."""

    mean: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the width of the interval."""
        return (self.high - self.low) / 2


NO_INTERVAL = Interval(math.nan, math.nan, math.nan)


class PairedTest(NamedTuple):
    """A paired difference, its interval, and the p-value of no difference.

    The interval and the p-value are corrected by Holm for the other tests of the same family.
    """

    difference: Interval
    p: float
    pairs: int

    @property
    def significant(self) -> bool:
        """True if the difference is significant, and there are at least MIN_PAIRS pairs."""
        return self.pairs >= MIN_PAIRS and self.p < LEVEL


class RankTest(NamedTuple):
    """A Friedman test and Nemenyi's test after it.

    `ranks` are the mean ranks, 1 the best. `p` is the p-value of equal ranks. Two mean ranks differ
    significantly if they are `critical_difference` apart. A group has no significant differences:
    `groups` has its first and last place in the order of the mean ranks.
    """

    ranks: np.ndarray
    p: float
    critical_difference: float
    groups: list[tuple[int, int]]


def t_interval(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the mean of `values`, shape (n,), and its interval by Student's t.

    The interval misses the true mean with probability `level`.

    >>> t_interval(np.array([1.0, 2.0, 3.0]))  # 2 -+ 4.303 * 1 / sqrt(3)
    Interval(mean=2.0, low=-0.484..., high=4.484...)
    """
    return _around(values, level, 1 / len(values))


def t_prediction(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the mean of `values`, shape (n,), and the interval for one more such value.

    The interval misses that value with probability `level`.

    >>> t_prediction(np.array([1.0, 2.0, 3.0]))  # 2 -+ 4.303 * 1 * sqrt(1 + 1 / 3)
    Interval(mean=2.0, low=-2.968..., high=6.968...)
    """
    return _around(values, level, 1 + 1 / len(values))


def independent_difference(values: np.ndarray, others: np.ndarray) -> Interval:
    """Return mean(values) - mean(others) and its 95 % interval by Welch's t.

    Their shapes are (n,) and (m,); they are not paired.
    """
    mean = float(np.mean(values) - np.mean(others))
    if min(len(values), len(others)) < 2:
        return Interval(mean, math.nan, math.nan)
    # SciPy's own test warns if one of the samples does not vary.
    squared_errors = np.array([np.var(sample, ddof=1) / len(sample) for sample in (values, others)])
    if not squared_errors.any():
        return Interval(mean, mean, mean)
    freedom = squared_errors.sum() ** 2 / (squared_errors**2 / [len(values) - 1, len(others) - 1]).sum()
    half_width = float(stats.t.isf(LEVEL / 2, freedom) * np.sqrt(squared_errors.sum()))
    return Interval(mean, mean - half_width, mean + half_width)


def p_value(differences: np.ndarray) -> float:
    """Return the two-sided p-value of paired `differences`, shape (n,), by Student's t test.

    It is 1 for fewer than two differences.
    """
    if len(differences) < 2:
        return 1.0
    mean, error = float(np.mean(differences)), float(stats.sem(differences))
    if error == 0:
        return float(mean == 0)
    return float(2 * stats.t.sf(abs(mean) / error, len(differences) - 1))


def holm_paired_tests(differences: Sequence[np.ndarray]) -> list[PairedTest]:
    """Return Holm-corrected tests of a family of paired differences, each of shape (pairs,).

    At most one family in 20 has a false claim. The interval of each test has the level of its step,
    so it leaves out zero exactly if the corrected p-value is below LEVEL.
    """
    adjusted, levels = holm(np.array([p_value(sample) for sample in differences]))
    tests = []
    for sample, p, level in zip(differences, adjusted, levels, strict=True):
        interval = t_interval(sample, level) if len(sample) else NO_INTERVAL
        tests.append(PairedTest(interval, float(p), len(sample)))
    return tests


def holm(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Holm's adjusted p-values of `p`, shape (m,), and the level of each test (Holm 1979).

    The smallest p-value is tested at LEVEL / m, the next at LEVEL / (m - 1), and so on. All tests
    after the first that fails share its level.

    >>> holm(np.array([0.04, 0.01, 0.03]))
    (array([0.06, 0.03, 0.06]), array([0.025     , 0.01666667, 0.025     ]))
    """
    order = np.argsort(p, kind="stable")
    remaining = len(p) - np.arange(len(p))  # the tests that are not done yet at each step
    steps = np.minimum(1.0, np.maximum.accumulate(remaining * p[order]))
    failed = remaining[steps >= LEVEL]
    adjusted, levels = np.empty(len(p)), np.empty(len(p))
    adjusted[order] = steps
    levels[order] = LEVEL / np.where(steps < LEVEL, remaining, failed[0] if len(failed) else 1)
    return adjusted, levels


def rank_ranges(better: np.ndarray) -> list[tuple[int, int]]:
    """Return the first and the last rank that each of k schedulers may have.

    `better`, shape (k, k), is True if the row is better than the column.

    >>> rank_ranges(np.array([[False, False, True], [False, False, True], [False, False, False]]))
    [(1, 2), (1, 2), (3, 3)]
    """
    n_better, n_worse = better.sum(0), better.sum(1)
    return [(1 + int(above), len(better) - int(below)) for above, below in zip(n_better, n_worse, strict=True)]


def friedman_nemenyi(values: np.ndarray) -> RankTest:
    """Return how k columns rank over n rows of `values`, the highest first (Demsar 2006).

    `values` has shape (n, k).
    """
    import scikit_posthocs  # imports statsmodels, which takes as long as the rest of a report

    n, k = values.shape
    ranks = stats.rankdata(-values, axis=1).mean(0)
    p = 1.0
    if np.ptp(values, axis=1).any():  # SciPy's own test divides by zero if all columns are equal
        p = float(stats.friedmanchisquare(*values.T).pvalue)
    order = np.argsort(ranks, kind="stable")
    tied = scikit_posthocs.posthoc_nemenyi_friedman(values).to_numpy() >= LEVEL
    quantile = float(stats.studentized_range.ppf(1 - LEVEL, k, np.inf)) / np.sqrt(2)
    critical_difference = float(quantile * np.sqrt(k * (k + 1) / (6 * n)))
    return RankTest(ranks, p, critical_difference, _tied_groups(tied[np.ix_(order, order)]))


def _tied_groups(tied: np.ndarray) -> list[tuple[int, int]]:
    """Return the first and last place of each group of ties, without groups inside another.

    `tied`, shape (k, k), is in the order of the mean ranks.
    """
    groups = []
    previous_last = 0
    for first, row in enumerate(tied):
        last = int(np.flatnonzero(row)[-1])
        if last > first and last > previous_last:
            groups.append((first, last))
        previous_last = last
    return groups


def _around(values: np.ndarray, level: float, variance_factor: float) -> Interval:
    """Return the mean and its interval.

    The variance of the error is `variance_factor` times the sample variance.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    deviation = np.std(values, ddof=1)
    half_width = float(stats.t.isf(level / 2, len(values) - 1) * deviation * np.sqrt(variance_factor))
    return Interval(mean, mean - half_width, mean + half_width)
