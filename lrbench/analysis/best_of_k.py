"""The validation accuracy that a search of k trials would reach."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

LOW, HIGH = 0.1, 0.9  # quantiles at the ends of the band


class BestOf(NamedTuple):
    """The best score of a search of `trials` trials: its mean, and the quantiles LOW and HIGH."""

    trials: int
    mean: float
    low: float
    high: float


def best_of_k(defaults: Sequence[float], sampled: Sequence[float], trials: int) -> BestOf:
    """Return the best score of a search of `trials` trials, the first with the default.

    `defaults` are the scores of the default configuration, and `sampled` the scores of the other
    trials of all searches. The other trials of the search are any of `sampled`, each once (Dodge et
    al. 2019, https://arxiv.org/abs/1909.03004, without replacement). Raises ValueError if there are
    fewer.
    """
    if trials - 1 > len(sampled):
        raise ValueError(f"trials={trials}: must be at most {len(sampled) + 1}")
    values = np.unique([*defaults, *sampled])
    below = _share_at_most(defaults, values) * _best_at_most(sampled, values, trials - 1)
    probabilities = np.diff(below, prepend=0.0)
    low, high = (float(values[np.searchsorted(below, quantile)]) for quantile in (LOW, HIGH))
    return BestOf(trials, float(values @ probabilities), low, high)


def _share_at_most(scores: Sequence[float], values: np.ndarray) -> np.ndarray:
    """Return the share of the scores that are at most each of the values."""
    if not scores:
        return np.ones(len(values))
    return np.asarray(np.searchsorted(np.sort(scores), values, side="right") / len(scores))


def _best_at_most(scores: Sequence[float], values: np.ndarray, count: int) -> np.ndarray:
    """Return the probability that `count` of the scores are all at most each of the values."""
    counts = np.searchsorted(np.sort(scores), values, side="right").astype(float)
    total = float(len(scores))
    enough = counts >= count
    kept = np.where(enough, counts, count)
    # C(counts, count) / C(total, count)
    logarithm = gammaln(kept + 1) - gammaln(kept - count + 1) - gammaln(total + 1) + gammaln(total - count + 1)
    return np.where(enough, np.exp(logarithm), 0.0)
