"""The number of pairs that would decide a comparison."""

import numpy as np
import pytest

from lrbench.analysis.planning import MAX_PAIRS, POWER, pairs_to_decide
from lrbench.analysis.statistics import LEVEL, Estimate, PairedTest, holm_tests, p_apart, p_value, paired_estimate


def _test(mean: float, deviation: float, pairs: int) -> PairedTest:
    (test,) = holm_tests([Estimate(mean, deviation / pairs**0.5, pairs - 1, pairs)], delta=0.3, needed=3)
    return test


@pytest.mark.parametrize("comparisons", [1, 9])
@pytest.mark.parametrize(
    ("mean", "deviation"),
    [
        pytest.param(1.0, 1.0, id="a difference"),
        pytest.param(0.0, 0.3, id="equality"),
        pytest.param(0.15, 0.3, id="between 0 and delta, where either decides"),
    ],
)
def test_so_many_pairs_decide_in_four_of_five_sweeps(mean: float, deviation: float, comparisons: int) -> None:
    """The planned number is tried on simulated differences, at the levels of Holm's steps."""
    others = [Estimate(0.15, deviation, 3, 4)] * (comparisons - 1)
    test = holm_tests([Estimate(mean, deviation / 2, 3, 4), *others], delta=0.3, needed=3)[0]
    assert test.verdict == "undecided"
    assert (test.level, test.level_apart) == pytest.approx((LEVEL / comparisons, LEVEL / comparisons))
    count = pairs_to_decide(test, 0.3)
    assert count is not None
    rng = np.random.default_rng(0)
    samples = [paired_estimate(rng.normal(mean, deviation, count)) for _ in range(1000)]
    decided = [p_value(each) < test.level or p_apart(each, 0.3) < test.level_apart for each in samples]
    assert np.mean(decided) == pytest.approx(POWER, abs=0.05)


def test_a_small_difference_needs_as_many_pairs_as_its_distance_to_delta_or_to_0() -> None:
    """At a tenth of delta, equality is near. At half of delta, both are equally far."""
    near, half, large = (pairs_to_decide(_test(mean, 0.5, 4), 0.3) for mean in (0.03, 0.15, 0.6))
    assert near is not None and half is not None and large is not None
    assert large < near < half


def test_no_plan_without_a_scatter_or_within_reach() -> None:
    (single,) = holm_tests([paired_estimate(np.array([0.1]))])
    assert pairs_to_decide(single, 0.3) is None
    assert pairs_to_decide(_test(0.15, 100.0, 4), 0.3) is None
    (without_scatter,) = holm_tests([Estimate(1.0, 0.0, 3, 4)], delta=0.3, needed=6)
    assert pairs_to_decide(without_scatter, 0.3) == 6
    assert (pairs_to_decide(_test(0.15, 1.0, 4), 0.3) or MAX_PAIRS) < MAX_PAIRS


def test_a_plan_has_the_pairs_that_a_claim_needs() -> None:
    """Two pairs with a large difference would need three, but six seeds are needed for a claim."""
    (test,) = holm_tests([Estimate(1.0, 0.1, 1, 2)], delta=0.3, needed=6)
    assert pairs_to_decide(test, 0.3) == 6


def test_one_pair_gives_no_plan_even_with_a_shared_deviation() -> None:
    (test,) = holm_tests([Estimate(1.0, 0.5, 4, 1)], delta=0.3, needed=3)
    assert pairs_to_decide(test, 0.3) is None
