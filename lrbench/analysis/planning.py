"""The number of searches or seeds that would decide an undecided comparison."""

import numpy as np
from scipy import stats

from lrbench.analysis.statistics import PairedTest

POWER = 0.8  # the probability that so many pairs decide, if the true difference is the observed one
MAX_PAIRS = 1000


def pairs_to_decide(test: PairedTest, delta: float) -> int | None:
    """Return how many pairs would show a difference, or equality within `delta`.

    It assumes that the observed difference and its scatter are the true ones, that both sides get
    the further pairs, and that the levels of the test stay the same. It is at least the number of
    pairs that a claim needs. It is None if the scatter is unknown, or if the number is above
    MAX_PAIRS.
    """
    mean, error, freedom, pairs = test.estimate
    if pairs < 2 or not freedom:
        return None
    if error == 0:  # all differences are the same, so any claim needs only enough of them
        return max(pairs + 1, test.needed)
    counts = np.arange(max(pairs + 1, test.needed), MAX_PAIRS + 1)
    errors = error * np.sqrt(pairs / counts)
    freedoms = freedom + counts - pairs  # a further pair has two values, and its search or seed takes one
    # An estimate is undecided from `low` to `high` errors from 0, on either side. Below `low`,
    # equality is shown, and above `high` a difference. The estimate is close to a shifted t
    # distribution.
    high = stats.t.isf(test.level / 2, freedoms)
    low = np.clip(delta / errors - stats.t.isf(test.level_apart, freedoms), 0, high)
    shift = abs(mean) / errors
    undecided = sum(
        stats.t.cdf(high - centre, freedoms) - stats.t.cdf(low - centre, freedoms) for centre in (shift, -shift)
    )
    enough = counts[undecided <= 1 - POWER]
    return int(enough[0]) if len(enough) else None
