"""Statistics of comparison: arrays in, numbers out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05  # of all that is claimed together
MIN_PAIRS = 6  # with fewer, no two-sided signed-rank test reaches 5 %: 2 / 2**5 = 0.0625
MIN_RANKED = 3  # schedulers that a Friedman test compares


class Interval(NamedTuple):
    """A mean and the ends of its interval; the ends are nan where there are fewer than two values."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of its width."""
        return (self.high - self.low) / 2


class Comparison(NamedTuple):
    """A paired difference, with the p-value of no difference and the interval, both corrected by Holm for those compared beside it."""

    difference: Interval
    p: float
    pairs: int

    @property
    def claimed(self) -> bool:
        """Whether there is a difference, as far as such runs can tell."""
        return self.pairs >= MIN_PAIRS and self.p < LEVEL


class RankTest(NamedTuple):
    """A Friedman test with Nemenyi's after it: mean ranks, 1 the best, the p-value of equal ones, and what tells two of them apart.

    `groups` are the first and last of those that are not told apart, counted in the order of the mean ranks.
    """

    ranks: np.ndarray
    p: float
    critical_difference: float
    groups: list[tuple[int, int]]


def t_interval(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the mean of `values`, shape (n,), and its interval by Student's t, which misses with probability `level`.

    >>> t_interval(np.array([1.0, 2.0, 3.0]))  # 2 -+ 4.303 * 1 / sqrt(3)
    Interval(mean=2.0, low=-0.484..., high=4.484...)
    """
    return _around(values, level, 1 / len(values))


def t_prediction(values: np.ndarray, level: float = LEVEL) -> Interval:
    """Return the mean of `values`, shape (n,), and the interval in which one more such value lies, but with probability `level`.

    >>> t_prediction(np.array([1.0, 2.0, 3.0]))  # 2 -+ 4.303 * 1 * sqrt(1 + 1 / 3)
    Interval(mean=2.0, low=-2.968..., high=6.968...)
    """
    return _around(values, level, 1 + 1 / len(values))


def paired_difference(values: np.ndarray, others: np.ndarray) -> Interval:
    """Return the mean of `values - others`, each of shape (n,) and paired by seed, and its 95 % interval by Student's t."""
    return t_interval(np.asarray(values) - np.asarray(others))


def independent_difference(values: np.ndarray, others: np.ndarray) -> Interval:
    """Return mean(values) - mean(others), of shapes (n,) and (m,) without pairs, and its 95 % interval by Welch's t."""
    mean = float(np.mean(values) - np.mean(others))
    if min(len(values), len(others)) < 2:
        return Interval(mean, float("nan"), float("nan"))
    parts = np.array([np.var(each, ddof=1) / len(each) for each in (values, others)])  # scipy's own warns where one does not vary
    if not parts.any():
        return Interval(mean, mean, mean)
    freedom = parts.sum() ** 2 / (parts**2 / [len(values) - 1, len(others) - 1]).sum()
    half = float(stats.t.isf(LEVEL / 2, freedom) * np.sqrt(parts.sum()))
    return Interval(mean, mean - half, mean + half)


def p_value(differences: np.ndarray) -> float:
    """Return the two-sided p-value of paired `differences`, shape (n,), by Student's t test; 1 for fewer than two."""
    if len(differences) < 2:
        return 1.0
    mean, error = float(np.mean(differences)), float(stats.sem(differences))
    if error == 0:
        return float(mean == 0)
    return float(2 * stats.t.sf(abs(mean) / error, len(differences) - 1))


def compared(differences: Sequence[np.ndarray]) -> list[Comparison]:
    """Return what paired differences, each of shape (pairs,), can claim together: by Holm, one false claim in 20 families at most.

    The interval of each has the level of its step, so that it leaves out zero where the corrected p-value is below LEVEL.
    """
    adjusted, levels = holm(np.array([p_value(each) for each in differences]))
    return [
        Comparison(t_interval(each, level) if len(each) else Interval(*[float("nan")] * 3), float(p), len(each))
        for each, p, level in zip(differences, adjusted, levels, strict=True)
    ]


def holm(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Holm's adjusted p-values of `p`, shape (m,), and the level of the step that decides on each (Holm 1979).

    The smallest is judged at LEVEL / m, the next at LEVEL / (m - 1), and so on; those after the first that fails share its level.

    >>> holm(np.array([0.04, 0.01, 0.03]))
    (array([0.06, 0.03, 0.06]), array([0.025     , 0.01666667, 0.025     ]))
    """
    order = np.argsort(p, kind="stable")
    left = len(p) - np.arange(len(p))
    steps = np.minimum(1.0, np.maximum.accumulate(left * p[order]))
    failed = left[steps >= LEVEL]
    adjusted, levels = np.empty(len(p)), np.empty(len(p))
    adjusted[order] = steps
    levels[order] = LEVEL / np.where(steps < LEVEL, left, failed[0] if len(failed) else 1)
    return adjusted, levels


def rank_ranges(better: np.ndarray) -> list[tuple[int, int]]:
    """Return the ranks that each of k may have, where `better`, shape (k, k), says that the row is better than the column.

    >>> rank_ranges(np.array([[False, False, True], [False, False, True], [False, False, False]]))
    [(1, 2), (1, 2), (3, 3)]
    """
    k = len(better)
    return [(1 + int(above), k - int(below)) for above, below in zip(better.sum(0), better.sum(1), strict=True)]


def friedman_nemenyi(values: np.ndarray) -> RankTest:
    """Return how k columns rank over n blocks, `values` of shape (n, k), the highest value first (Demsar 2006)."""
    import scikit_posthocs  # with statsmodels, which takes as long to import as the rest of a report to make

    blocks, k = values.shape
    ranks = stats.rankdata(-values, axis=1).mean(0)
    p = 1.0 if not np.ptp(values, axis=1).any() else float(stats.friedmanchisquare(*values.T).pvalue)
    alike = scikit_posthocs.posthoc_nemenyi_friedman(values).to_numpy() >= LEVEL
    order = np.argsort(ranks, kind="stable")
    ends = [max(j for j in range(k) if alike[order[i], order[j]]) for i in range(k)]
    groups = [(i, end) for i, end in enumerate(ends) if end > i and (i == 0 or end > ends[i - 1])]
    critical = float(stats.studentized_range.ppf(1 - LEVEL, k, np.inf)) / np.sqrt(2)
    return RankTest(ranks, p, float(critical * np.sqrt(k * (k + 1) / (6 * blocks))), groups)


def _around(values: np.ndarray, level: float, variance_factor: float) -> Interval:
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"))
    half = float(stats.t.isf(level / 2, len(values) - 1) * np.std(values, ddof=1) * np.sqrt(variance_factor))
    return Interval(mean, mean - half, mean + half)
