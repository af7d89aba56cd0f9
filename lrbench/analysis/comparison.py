"""Comparisons of schedulers by the searches that they share: a two-way layout.

The value of a scheduler in a search is the mean test accuracy of its final runs there. The model is
value = scheduler + search + residual. All schedulers have the same seeds in a search, so a search
is a block. The residual holds the luck of a search and of its final seeds. A claim about schedulers
must allow for both.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.sparse.csgraph import connected_components

from lrbench.analysis.statistics import LEVEL, NO_ESTIMATE, Estimate, Interval, paired_estimate, t_interval

Values = Mapping[int, float]  # the value of a scheduler by block: by search, or by seed


@dataclass(frozen=True)
class Layout:
    """The comparison of k schedulers.

    `estimates` has the difference of each pair (first minus second, by their places). `means` are
    the schedulers' means with 95 % intervals, and `errors` their standard errors. `noisy` are the
    places of the schedulers that scatter more than the others.
    """

    estimates: Mapping[tuple[int, int], Estimate]
    means: Sequence[Interval]
    errors: Sequence[float]
    noisy: Sequence[int] = ()

    def difference(self, first: int, second: int) -> Estimate:
        """Return the difference of two schedulers in either order."""
        if first < second:
            return self.estimates[first, second]
        estimate = self.estimates[second, first]
        return Estimate(-estimate.mean, estimate.error, estimate.freedom, estimate.pairs)


def compare_by_seed(values: Sequence[Values]) -> Layout:
    """Return the comparison of configurations that share seeds, by paired differences."""
    estimates = {
        (first, second): _paired(values[first], values[second])
        for first, second in itertools.combinations(range(len(values)), 2)
    }
    rows = [np.array(list(row.values())) for row in values]
    return Layout(estimates, [t_interval(row) for row in rows], [paired_estimate(row).error for row in rows])


def compare_by_search(values: Sequence[Values]) -> Layout:
    """Return the comparison of schedulers that share searches, shape (schedulers, searches).

    Pairs of schedulers that scatter alike share one residual variance. A scheduler that scatters
    more than the others (F test, corrected for the number of schedulers) is compared by its own
    differences.
    """
    noisy = _noisy(values)
    quiet = [place for place in range(len(values)) if place not in noisy]
    fit = _fit([values[place] for place in quiet])
    places = {place: column for column, place in enumerate(quiet)}
    estimates = {}
    for first, second in itertools.combinations(range(len(values)), 2):
        shared = [search for search in values[first] if search in values[second]]
        if first in places and second in places and fit.freedom:
            estimates[first, second] = fit.difference(places[first], places[second], len(shared))
        else:
            estimates[first, second] = _paired(values[first], values[second])
    pooled = _pooled_means([values[place] for place in quiet], fit)
    means = [pooled[places[place]] if place in places else _own_mean(values[place]) for place in range(len(values))]
    intervals = [_moved(mean, level) for (mean, _), level in zip(means, adjusted_means(values), strict=True)]
    return Layout(estimates, intervals, [error for _, error in means], noisy)


def adjusted_means(values: Sequence[Values]) -> list[float]:
    """Return the means of the schedulers, as if all had all searches.

    The searches that a scheduler lacks may be easy or hard ones. The additive model tells which.
    Without a chain of shared searches between all schedulers, nothing tells, and the means are
    plain.
    """
    if len({frozenset(row) for row in values}) == 1 or not are_linked(values):
        return [float(np.mean(list(row.values()))) for row in values]
    return [float(level) for level in _fit(values).levels]


def are_linked(values: Sequence[Values]) -> bool:
    """Return True if each scheduler shares searches with another, in a chain that has them all."""
    return len(set(_fit(values).groups)) == 1


def _moved(interval: Interval, mean: float) -> Interval:
    shift = mean - interval.mean
    return Interval(mean, interval.low + shift, interval.high + shift) if shift else interval


def _paired(values: Values, others: Values) -> Estimate:
    return paired_estimate(np.array([values[block] - others[block] for block in values if block in others]))


@dataclass(frozen=True)
class _Fit:
    """The additive model of schedulers and searches, fitted by least squares.

    `levels` are the means of the schedulers over all searches, and `covariance` is their covariance
    for a residual variance of 1. Schedulers of different `groups` share no search, and no chain of
    others links them, so their difference is unknown.
    """

    levels: np.ndarray
    covariance: np.ndarray
    groups: Sequence[int]
    squares: float  # the sum of the squared residuals
    freedom: int

    @property
    def variance(self) -> float:
        """The variance of a residual, NaN without degrees of freedom."""
        return self.squares / self.freedom if self.freedom else math.nan

    def difference(self, first: int, second: int, shared: int) -> Estimate:
        """Return the difference of two schedulers, which share so many searches."""
        if self.groups[first] != self.groups[second]:
            return NO_ESTIMATE
        covariance = self.covariance
        factor = covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]
        mean = round(float(self.levels[first] - self.levels[second]), 12)  # without rounding errors
        return Estimate(mean, math.sqrt(max(0.0, self.variance * factor)), self.freedom, shared)


def _fit(values: Sequence[Values]) -> _Fit:
    searches = sorted({search for row in values for search in row})
    cells = [
        (place, searches.index(search), value) for place, row in enumerate(values) for search, value in row.items()
    ]
    design = np.zeros((len(cells), len(values) + len(searches)))
    for row, (place, search, _) in enumerate(cells):
        design[row, place] = design[row, len(values) + search] = 1
    observed = np.array([value for _, _, value in cells])
    effects, _, rank, _ = np.linalg.lstsq(design, observed, rcond=None)
    residuals = observed - design @ effects
    residuals[np.abs(residuals) < 1e-12] = 0.0  # equal differences leave only rounding errors
    squared = design.T @ design
    # The mean of a scheduler is its effect plus the mean effect of the searches.
    to_levels = np.hstack([np.eye(len(values)), np.full((len(values), len(searches)), 1 / len(searches))])
    groups = connected_components(squared)[1][: len(values)]
    covariance = to_levels @ np.linalg.pinv(squared) @ to_levels.T
    squares, freedom = float(residuals @ residuals), len(cells) - int(rank)
    return _Fit(to_levels @ effects, covariance, groups.tolist(), squares, freedom)


def _noisy(values: Sequence[Values]) -> list[int]:
    """Return the places of the schedulers that scatter more than the others, the noisiest first.

    A scheduler's own share of the squared residuals is tested against the fit without it. At least
    two schedulers share the variance.
    """
    noisy: list[int] = []
    while len(values) - len(noisy) > 2:
        kept = [place for place in range(len(values)) if place not in noisy]
        whole = _fit([values[place] for place in kept])
        p = {place: _excess_p(whole, _fit([values[other] for other in kept if other != place])) for place in kept}
        noisiest = min(kept, key=lambda place: p[place])
        if len(kept) * p[noisiest] >= LEVEL:
            break
        noisy.append(noisiest)
    return noisy


def _excess_p(whole: _Fit, without: _Fit) -> float:
    """Return the p-value of a scheduler that scatters no more than the others."""
    freedom = whole.freedom - without.freedom
    if freedom <= 0 or without.freedom <= 0:
        return 1.0
    excess = (whole.squares - without.squares) / freedom
    if without.squares == 0:
        return float(excess <= 0)
    return float(stats.f.sf(excess / without.variance, freedom, without.freedom))


def _pooled_means(values: Sequence[Values], fit: _Fit) -> list[tuple[Interval, float]]:
    """Return the means of the schedulers with intervals and errors, from their pooled variance.

    The variance of a value is the variance of searches plus the residual variance. Its degrees of
    freedom are Satterthwaite's.
    """
    rows = [np.array(list(row.values())) for row in values]
    spread = sum(float(((row - row.mean()) ** 2).sum()) for row in rows)
    blocks = sum(len(row) - 1 for row in rows)
    if not blocks or not fit.freedom:
        return [_own_mean(row) for row in values]
    variance, share = spread / blocks, (len(rows) - 1) / len(rows)
    by_search = max(0.0, variance - share * fit.variance)  # the part of the mean square of searches
    searches = len({search for row in values for search in row})
    squares = (share * fit.variance) ** 2 / fit.freedom + by_search**2 / (searches - 1)
    freedom = variance**2 / squares if squares else math.inf
    quantile = float(stats.t.isf(LEVEL / 2, freedom))
    intervals = []
    for row, factor in zip(rows, np.diag(fit.covariance), strict=True):
        # In a balanced layout, the factor is 1 / searches, and the sum is variance / searches.
        squared_error = fit.variance * factor + (variance - fit.variance) / searches
        mean, error = float(row.mean()), math.sqrt(squared_error if squared_error > 0 else fit.variance * factor)
        intervals.append((Interval(mean, mean - quantile * error, mean + quantile * error), error))
    return intervals


def _own_mean(values: Values) -> tuple[Interval, float]:
    row = np.array(list(values.values()))
    return t_interval(row), paired_estimate(row).error
