"""The number of searches or seeds that would decide an undecided comparison."""

import math

from scipy import stats

from lrbench.analysis.statistics import PairedTest

POWER = 0.8  # the probability that so many pairs decide, if the true difference is the observed one
MAX_PAIRS = 1000


def pairs_to_decide(test: PairedTest, delta: float) -> int | None:
    """Return how many pairs would show a difference, or equality within `delta`.

    It assumes that the observed difference and its scatter are the true ones, and keeps the level
    of the test. It is at least the number of pairs that a claim needs. It is None if the scatter is
    unknown or zero, or above MAX_PAIRS.
    """
    mean, error, freedom, pairs = test.estimate
    if pairs < 2 or not freedom or not error:
        return None
    margin = max(abs(mean), delta - abs(mean))  # the distance to 0, or to delta
    deviation = error * math.sqrt(pairs)
    for more in range(max(pairs + 1, test.needed), MAX_PAIRS + 1):
        freedom_then = freedom * (more - 1) / (pairs - 1)
        quantiles = stats.t.isf(test.level / 2, freedom_then) + stats.t.isf(1 - POWER, freedom_then)
        if quantiles * deviation / math.sqrt(more) <= margin:
            return more
    return None
