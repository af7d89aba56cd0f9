import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from lrbench.stats import (
    Comparison,
    Interval,
    compared,
    friedman_nemenyi,
    holm,
    independent_difference,
    p_value,
    paired_difference,
    rank_ranges,
    t_interval,
    t_prediction,
)


def test_interval_of_three_values_by_hand() -> None:
    # mean 4, deviation 2, t(0.975, 2) = 4.3027: 4 -+ 4.3027 * 2 / sqrt(3)
    assert t_interval(np.array([2.0, 4.0, 6.0])) == pytest.approx((4, -0.968, 8.968), abs=1e-3)


def test_one_value_has_no_interval() -> None:
    mean, low, high = t_interval(np.array([0.5]))
    assert mean == 0.5
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_cover_95_percent(n: int) -> None:
    samples = np.random.default_rng(n).normal(0.93, 0.002, (20_000, n))
    low, high = _ends(samples)
    assert [low[7], high[7]] == pytest.approx(t_interval(samples[7])[1:])
    covered = float(np.mean((low <= 0.93) & (high >= 0.93)))
    assert covered == pytest.approx(0.95, abs=0.005)  # the simulation's own error is 0.0015


@pytest.mark.parametrize("n", [3, 5, 10])
def test_paired_intervals_cover_95_percent_where_seeds_share_most_of_the_noise(n: int) -> None:
    generator = np.random.default_rng(n)
    seeds = generator.normal(0, 0.01, (20_000, n))
    differences = (seeds + generator.normal(0.003, 0.001, seeds.shape)) - (seeds + generator.normal(0, 0.001, seeds.shape))
    low, high = _ends(differences)
    assert float(np.mean((low <= 0.003) & (high >= 0.003))) == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_one_more_run_lies_in_the_prediction_95_percent_of_the_time(n: int) -> None:
    samples = np.random.default_rng(n).normal(0, 1, (20_000, n + 1))
    half = scipy_stats.t.ppf(0.975, n - 1) * samples[:, :n].std(1, ddof=1) * np.sqrt(1 + 1 / n)
    assert half[7] == pytest.approx(t_prediction(samples[7, :n]).half)
    assert float(np.mean(abs(samples[:, n] - samples[:, :n].mean(1)) <= half)) == pytest.approx(0.95, abs=0.005)


def _ends(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the t interval of each row, as `t_interval` does for one."""
    half = scipy_stats.t.ppf(0.975, samples.shape[1] - 1) * samples.std(1, ddof=1) / np.sqrt(samples.shape[1])
    return samples.mean(1) - half, samples.mean(1) + half


def test_pairing_takes_out_what_the_pairs_share() -> None:
    seeds = np.array([0.1, 0.5, 0.9, 0.3])
    assert paired_difference(seeds + 0.01, seeds) == pytest.approx((0.01, 0.01, 0.01))


def test_p_value_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).normal(0.5, 1, 8)
    assert p_value(values) == pytest.approx(scipy_stats.ttest_1samp(values, 0).pvalue)


def test_p_value_where_nothing_varies() -> None:
    assert p_value(np.zeros(8)) == 1
    assert p_value(np.full(8, 0.5)) == 0
    assert p_value(np.array([0.5])) == 1


def test_holm_by_hand() -> None:
    # in order 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1, and never falling; the third fails, at 0.05 / 2, and the fourth with it
    adjusted, levels = holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert levels == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])


def test_holm_is_that_of_statsmodels() -> None:
    p = np.random.default_rng(1).uniform(0, 0.1, 20)
    assert holm(p)[0] == pytest.approx(multipletests(p, method="holm")[1])


def test_an_interval_leaves_out_zero_exactly_where_the_corrected_p_is_below_5_percent() -> None:
    generator = np.random.default_rng(2)
    families = [compared(list(generator.normal(generator.uniform(0, 1.5, (6, 1)), 1, (6, 8)))) for _ in range(100)]
    found = [one for family in families for one in family]
    assert 100 < sum(one.claimed for one in found) < 500
    assert all((one.p < 0.05) == (one.difference.low > 0 or one.difference.high < 0) for one in found)


def test_of_eight_that_are_alike_one_is_called_better_in_1_of_20_families() -> None:
    """The best is picked after looking: corrected for its own comparisons alone, it would be called better in 1 of 9."""
    pairs = list(itertools.combinations(range(8), 2))
    wrong_of_all = wrong_of_best = 0
    for accuracies in np.random.default_rng(3).normal(0.93, 0.002, (3000, 8, 8)):
        ordered = accuracies[np.argsort(-accuracies.mean(1))]
        differences = np.array([ordered[i] - ordered[j] for i, j in pairs])
        p = np.asarray(scipy_stats.ttest_1samp(differences, 0, axis=1).pvalue)
        wrong_of_all += bool((holm(p)[0] < 0.05).any())
        wrong_of_best += bool((holm(p[:7])[0] < 0.05).any())
    assert wrong_of_all / 3000 < 0.055
    assert wrong_of_best / 3000 > 0.1


def test_fewer_than_six_pairs_claim_nothing() -> None:
    apart = np.array([1.0, 1.1, 0.9, 1.0, 1.05, 0.95])
    assert compared([apart])[0].claimed
    assert not compared([apart[:5]])[0].claimed
    assert compared([apart[:5]])[0].p < 0.001


def test_without_pairs_there_is_no_difference() -> None:
    (one,) = compared([np.array([])])
    assert one.pairs == 0
    assert np.isnan(one.difference.mean)
    assert not one.claimed


def test_rank_ranges_by_hand() -> None:
    # the first is better than the third and the fourth, the second than the fourth; 1 and 2 tie, and 2 and 3, and 3 and 4
    better = np.zeros((4, 4), dtype=bool)
    better[0, 2] = better[0, 3] = better[1, 3] = True
    assert rank_ranges(better) == [(1, 2), (1, 3), (2, 4), (3, 4)]
    assert rank_ranges(np.zeros((3, 3), dtype=bool)) == [(1, 3)] * 3


def test_friedman_and_nemenyi_by_hand() -> None:
    # in each of six blocks the order is a, b, c: ranks 1, 2, 3; chi square is 12 and p exp(-6) = 0.00248
    values = np.array([[3.0, 2.0, 1.0]] * 6) + np.arange(6)[:, None]
    test = friedman_nemenyi(values)
    assert test.ranks == pytest.approx([1, 2, 3])
    assert test.p == pytest.approx(np.exp(-6))
    assert test.critical_difference == pytest.approx(2.343 * np.sqrt(3 * 4 / (6 * 6)), abs=1e-3)  # q of Demsar 2006, table 5
    assert test.groups == [(0, 1), (1, 2)]  # a and c are 2 apart, more than 1.353


def test_blocks_without_a_difference_are_one_group() -> None:
    test = friedman_nemenyi(np.ones((6, 4)))
    assert test.ranks == pytest.approx([2.5] * 4)
    assert test.p == 1
    assert test.groups == [(0, 3)]


def test_difference_without_pairs_is_welchs() -> None:
    # means 3 and 1, variances 1 and 1, three values each: 2 -+ t(0.975, 4) * sqrt(2 / 3) = 2.776 * 0.8165
    difference = independent_difference(np.array([2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0]))
    assert difference == pytest.approx((2, 2 - 2.2669, 2 + 2.2669), abs=1e-3)
    assert independent_difference(np.ones(3), np.zeros(4)) == (1, 1, 1)
    values, others = np.random.default_rng(0).normal(0, 1, 8), np.random.default_rng(1).normal(0, 3, 5)
    theirs = scipy_stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    assert independent_difference(values, others)[1:] == pytest.approx((theirs.low, theirs.high))
    assert np.isnan(independent_difference(np.ones(1), np.zeros(4)).low)


def test_a_comparison_is_claimed_below_5_percent() -> None:
    assert Comparison(Interval(1, 0.5, 1.5), 0.049, 6).claimed
    assert not Comparison(Interval(1, -0.5, 1.5), 0.05, 6).claimed
