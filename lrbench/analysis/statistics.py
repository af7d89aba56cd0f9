"""The statistics of a comparison: arrays in, numbers out."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.05  # the significance level of a family of tests
MIN_PAIRS = 6  # with fewer, no two-sided signed-rank test reaches 5 %: 2 / 2**5 = 0.0625
MIN_SEARCHES = 3  # with fewer, the luck of a search is hardly known
DEFAULT_DELTA = 0.003  # a difference of accuracy that does not matter
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


class Estimate(NamedTuple):
    """An estimated difference, its standard error and degrees of freedom.

    `pairs` is the number of seeds or searches that were compared. With fewer than two, `freedom` is
    0 and the error unknown.
    """

    mean: float
    error: float
    freedom: float
    pairs: int


Verdict = Literal["better", "worse", "equal", "undecided"]


NO_ESTIMATE = Estimate(math.nan, math.nan, 0.0, 0)


class PairedTest(NamedTuple):
    """A difference, its interval, and the p-values of no difference and of one that matters.

    `p` is the p-value of no difference, and `p_apart` of a difference of at least delta (two
    one-sided tests). Both are corrected by Holm for the other tests of the same family. `level` is
    the level of the first, and of the interval. `level_apart` is the level of the second. With
    fewer than `needed` pairs, the test claims nothing.
    """

    difference: Interval
    p: float
    pairs: int
    p_apart: float = 1.0
    level: float = LEVEL
    estimate: Estimate = NO_ESTIMATE
    needed: int = MIN_PAIRS
    level_apart: float = LEVEL

    @property
    def significant(self) -> bool:
        """True if the difference is significant, and there are enough pairs."""
        return self.pairs >= self.needed and self.p < LEVEL

    @property
    def verdict(self) -> Verdict:
        """What the difference shows of the first of the two. `equal` means closer than delta."""
        if self.significant:
            return "better" if self.difference.mean > 0 else "worse"
        return "equal" if self.pairs >= self.needed and self.p_apart < LEVEL else "undecided"


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
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    half_width = float(stats.t.isf(level / 2, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half_width, mean + half_width)


def pooled_interval(mean: float, factor: float, samples: Sequence[np.ndarray]) -> Interval:
    """Return a mean and its 95 % interval, from the variance within `samples`.

    The variance of the error is `factor` times the variance within the samples: 1 / n for a mean of
    n values, and 1 + 1 / n for one more value beside them. The ends are NaN if no sample has two
    values.

    >>> pooled_interval(2.0, 1 + 1 / 3, [np.array([1.0, 2.0, 3.0])])  # 2 -+ 4.303 * sqrt(4 / 3)
    Interval(mean=2.0, low=-2.968..., high=6.968...)
    """
    freedom = sum(len(sample) - 1 for sample in samples)
    if not freedom:
        return Interval(mean, math.nan, math.nan)
    variance = sum(float(((sample - sample.mean()) ** 2).sum()) for sample in samples) / freedom
    half_width = float(stats.t.isf(LEVEL / 2, freedom)) * math.sqrt(variance * factor)
    return Interval(mean, mean - half_width, mean + half_width)


def independent_difference(first: Estimate, second: Estimate) -> Interval:
    """Return the difference of two independent means and its 95 % interval by Welch's t."""
    mean = first.mean - second.mean
    if not first.freedom or not second.freedom:
        return Interval(mean, math.nan, math.nan)
    # SciPy's own test warns if one of the samples does not vary.
    squared_errors = np.array([first.error, second.error]) ** 2
    if not squared_errors.any():
        return Interval(mean, mean, mean)
    freedom = squared_errors.sum() ** 2 / (squared_errors**2 / [first.freedom, second.freedom]).sum()
    half_width = float(stats.t.isf(LEVEL / 2, freedom) * np.sqrt(squared_errors.sum()))
    return Interval(mean, mean - half_width, mean + half_width)


def paired_estimate(differences: np.ndarray) -> Estimate:
    """Return the mean of paired `differences`, shape (n,), and its standard error."""
    n = len(differences)
    if n < 2:
        return Estimate(float(np.mean(differences)) if n else math.nan, math.nan, 0, n)
    return Estimate(float(np.mean(differences)), float(stats.sem(differences)), n - 1, n)


def p_value(estimate: Estimate) -> float:
    """Return the two-sided p-value of no difference by Student's t, 1 without an error."""
    mean, error, freedom, _ = estimate
    if not freedom:
        return 1.0
    if error == 0:
        return float(mean == 0)
    return float(2 * stats.t.sf(abs(mean) / error, freedom))


def p_apart(estimate: Estimate, delta: float) -> float:
    """Return the p-value of a difference of `delta` or more, by two one-sided t tests.

    The larger of the two p-values counts (Schuirmann 1987). It is 1 without an error.
    """
    mean, error, freedom, _ = estimate
    if not freedom:
        return 1.0
    if error == 0:
        return float(abs(mean) >= delta)
    return float(stats.t.sf((delta - abs(mean)) / error, freedom))


def holm_tests(
    estimates: Sequence[Estimate], *, delta: float = DEFAULT_DELTA, needed: int = MIN_PAIRS
) -> list[PairedTest]:
    """Return Holm-corrected tests of a family of differences.

    At most one family in 20 has a false claim of a difference, and at most one in 20 a false claim
    of equality. The interval of each test has the level of its step, so it leaves out zero exactly
    if the corrected p-value is below LEVEL.
    """
    adjusted, levels = holm(np.array([p_value(estimate) for estimate in estimates]))
    apart, apart_levels = holm(np.array([p_apart(estimate, delta) for estimate in estimates]))
    return [
        PairedTest(
            difference=_interval(estimate, levels[place]),
            p=float(adjusted[place]),
            pairs=estimate.pairs,
            p_apart=float(apart[place]),
            level=float(levels[place]),
            estimate=estimate,
            needed=needed,
            level_apart=float(apart_levels[place]),
        )
        for place, estimate in enumerate(estimates)
    ]


def _interval(estimate: Estimate, level: float) -> Interval:
    mean, error, freedom, _ = estimate
    if not freedom:
        return Interval(mean, math.nan, math.nan)
    half_width = float(stats.t.isf(level / 2, freedom)) * error
    return Interval(mean, mean - half_width, mean + half_width)


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
