"""Statistics: numbers by hand, against SciPy and statsmodels, and by simulation."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from lrbench.analysis import statistics


def test_interval_of_three_values_by_hand() -> None:
    # mean 4, deviation 2, t(0.975, 2) = 4.3027: 4 -+ 4.3027 * 2 / sqrt(3)
    assert statistics.t_interval(np.array([2.0, 4.0, 6.0])) == pytest.approx((4, -0.968, 8.968), abs=1e-3)


def test_a_single_value_has_no_interval() -> None:
    mean, low, high = statistics.t_interval(np.array([0.5]))
    assert mean == 0.5
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_cover_95_percent(n: int) -> None:
    samples = np.random.default_rng(n).normal(0.93, 0.002, (20_000, n))
    low, high = _ends(samples)
    assert [low[7], high[7]] == pytest.approx(statistics.t_interval(samples[7])[1:])
    covered = float(np.mean((low <= 0.93) & (high >= 0.93)))
    assert covered == pytest.approx(0.95, abs=0.005)  # the simulation's own error is 0.0015


@pytest.mark.parametrize("n", [3, 5, 10])
def test_paired_intervals_cover_95_percent_if_pairs_share_most_of_the_noise(n: int) -> None:
    generator = np.random.default_rng(n)
    seeds = generator.normal(0, 0.01, (20_000, n))
    values = seeds + generator.normal(0.003, 0.001, seeds.shape)
    others = seeds + generator.normal(0, 0.001, seeds.shape)
    low, high = _ends(values - others)
    assert float(np.mean((low <= 0.003) & (high >= 0.003))) == pytest.approx(0.95, abs=0.005)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_prediction_contains_a_new_value_in_95_percent_of_cases(n: int) -> None:
    samples = np.random.default_rng(n).normal(0, 1, (20_000, n + 1))
    known, new = samples[:, :n], samples[:, n]
    half_widths = scipy_stats.t.ppf(0.975, n - 1) * known.std(1, ddof=1) * np.sqrt(1 + 1 / n)
    assert half_widths[7] == pytest.approx(statistics.pooled_interval(0, 1 + 1 / n, [known[7]]).half_width)
    covered = float(np.mean(abs(new - known.mean(1)) <= half_widths))
    assert covered == pytest.approx(0.95, abs=0.005)


def _ends(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the t interval of each row, computed for all rows at once."""
    n = samples.shape[1]
    half_widths = scipy_stats.t.ppf(0.975, n - 1) * samples.std(1, ddof=1) / np.sqrt(n)
    return samples.mean(1) - half_widths, samples.mean(1) + half_widths


def test_p_value_equals_scipys() -> None:
    values = np.random.default_rng(0).normal(0.5, 1, 8)
    assert statistics.p_value(statistics.paired_estimate(values)) == pytest.approx(
        scipy_stats.ttest_1samp(values, 0).pvalue
    )


def test_p_value_without_variance() -> None:
    for values, p in ((np.zeros(8), 1), (np.full(8, 0.5), 0), (np.array([0.5]), 1)):
        assert statistics.p_value(statistics.paired_estimate(values)) == p


def test_holm_by_hand() -> None:
    # sorted: 0.005, 0.01, 0.03, 0.04; times 4, 3, 2, 1, and never decreasing; the third fails at
    # 0.05 / 2, so the fourth fails too
    adjusted, levels = statistics.holm(np.array([0.01, 0.04, 0.03, 0.005]))
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert levels == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])


def test_holm_equals_statsmodels() -> None:
    p = np.random.default_rng(1).uniform(0, 0.1, 20)
    assert statistics.holm(p)[0] == pytest.approx(multipletests(p, method="holm")[1])


def test_an_interval_leaves_out_zero_exactly_if_the_corrected_p_is_below_5_percent() -> None:
    generator = np.random.default_rng(2)
    tests = []
    for _ in range(100):
        means = generator.uniform(0, 1.5, (6, 1))
        tests += statistics.holm_tests(list(map(statistics.paired_estimate, generator.normal(means, 1, (6, 8)))))
    assert 100 < sum(test.significant for test in tests) < 500
    for test in tests:
        excludes_zero = test.difference.low > 0 or test.difference.high < 0
        assert excludes_zero == (test.p < 0.05)


def test_eight_equal_schedulers_give_a_false_claim_in_1_of_20_families() -> None:
    """A correction for the comparisons with the best one alone gives false claims in 1 of 9.

    The best one is known only after looking at the results.
    """
    pairs = list(itertools.combinations(range(8), 2))
    false_of_all_pairs = false_of_best = 0
    for accuracies in np.random.default_rng(3).normal(0.93, 0.002, (3000, 8, 8)):
        ordered = accuracies[np.argsort(-accuracies.mean(1))]
        differences = np.array([ordered[i] - ordered[j] for i, j in pairs])
        p = np.asarray(scipy_stats.ttest_1samp(differences, 0, axis=1).pvalue)
        false_of_all_pairs += bool((statistics.holm(p)[0] < 0.05).any())
        false_of_best += bool((statistics.holm(p[:7])[0] < 0.05).any())
    assert false_of_all_pairs / 3000 < 0.055
    assert false_of_best / 3000 > 0.1


def test_fewer_than_six_pairs_are_never_significant() -> None:
    differences = np.array([1.0, 1.1, 0.9, 1.0, 1.05, 0.95])
    (six,) = statistics.holm_tests([statistics.paired_estimate(differences)])
    (five,) = statistics.holm_tests([statistics.paired_estimate(differences[:5])])
    assert six.significant
    assert not five.significant
    assert five.p < 0.001


def test_without_pairs_there_is_no_difference() -> None:
    (test,) = statistics.holm_tests([statistics.paired_estimate(np.array([]))])
    assert test.pairs == 0
    assert np.isnan(test.difference).all()
    assert test.verdict == "undecided"


def test_equality_is_shown_by_two_one_sided_tests() -> None:
    """The 90 % interval must be inside of ±delta, as SciPy's one-sided tests say."""
    values = np.random.default_rng(4).normal(0.05, 0.1, 10)
    for delta in (0.05, 0.1, 0.2):
        above = scipy_stats.ttest_1samp(values, delta, alternative="less").pvalue
        below = scipy_stats.ttest_1samp(values, -delta, alternative="greater").pvalue
        assert statistics.p_apart(statistics.paired_estimate(values), delta) == pytest.approx(max(above, below))


def test_equality_without_variance() -> None:
    for mean, p in ((0.1, 0), (-0.1, 0), (0.3, 1), (-0.4, 1)):
        assert statistics.p_apart(statistics.Estimate(mean, 0.0, 5, 6), 0.3) == p
    assert statistics.p_apart(statistics.paired_estimate(np.array([0.1])), 0.3) == 1


def test_a_pooled_interval_by_hand() -> None:
    # squares 2 and 8 around the means 2 and 5 of two samples, so the variance is 10 / 2 with 2
    # degrees of freedom: 5 -+ 4.3027 * sqrt(5 / 2)
    samples = [np.array([1.0, 3.0]), np.array([3.0, 7.0])]
    half_width = 4.3027 * 2.5**0.5
    assert statistics.pooled_interval(5, 1 / 2, samples) == pytest.approx((5, 5 - half_width, 5 + half_width), abs=1e-3)
    mean, low, high = statistics.pooled_interval(5, 1, [np.array([1.0]), np.array([3.0])])
    assert mean == 5
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize(
    ("mean", "deviation", "verdict"),
    [
        (1.0, 0.1, "better"),
        (-1.0, 0.1, "worse"),
        (0.0, 0.1, "equal"),
        (0.1, 2.0, "undecided"),
        (0.29, 0.5, "undecided"),
    ],
)
def test_the_verdicts(mean: float, deviation: float, verdict: str) -> None:
    values = mean + deviation * np.array([-1.0, 1.0, 0.0, -1.0, 1.0, 0.0])
    (test,) = statistics.holm_tests([statistics.paired_estimate(values)], delta=0.3)
    assert test.verdict == verdict


def test_equal_schedulers_at_delta_are_called_equal_in_1_of_20_families() -> None:
    """The true differences are delta, so each claim of equality is false."""
    rng, false = np.random.default_rng(5), 0
    for _ in range(1000):
        samples = rng.normal(0.3, 0.3, (6, 8))
        tests = statistics.holm_tests(list(map(statistics.paired_estimate, samples)), delta=0.3)
        false += any(test.verdict == "equal" for test in tests)
    assert false / 1000 < 0.065


def test_rank_ranges_by_hand() -> None:
    # 1 is better than 3 and 4, and 2 is better than 4; 1 and 2 tie, so do 2 and 3, and 3 and 4
    better = np.zeros((4, 4), dtype=bool)
    better[0, 2] = better[0, 3] = better[1, 3] = True
    assert statistics.rank_ranges(better) == [(1, 2), (1, 3), (2, 4), (3, 4)]
    assert statistics.rank_ranges(np.zeros((3, 3), dtype=bool)) == [(1, 3)] * 3


def test_friedman_and_nemenyi_by_hand() -> None:
    # in each of six blocks the order is a, b, c: ranks 1, 2, 3; chi square 12; p exp(-6) = 0.00248
    values = np.array([[3.0, 2.0, 1.0]] * 6) + np.arange(6)[:, None]
    test = statistics.friedman_nemenyi(values)
    assert test.ranks == pytest.approx([1, 2, 3])
    assert test.p == pytest.approx(np.exp(-6))
    q = 2.343  # Demsar 2006, table 5
    assert test.critical_difference == pytest.approx(q * np.sqrt(3 * 4 / (6 * 6)), abs=1e-3)
    assert test.groups == [(0, 1), (1, 2)]  # a and c are 2 apart, more than 1.353


def test_equal_columns_are_one_group() -> None:
    test = statistics.friedman_nemenyi(np.ones((6, 4)))
    assert test.ranks == pytest.approx([2.5] * 4)
    assert test.p == 1
    assert test.groups == [(0, 3)]


def test_the_groups_of_ties_overlap() -> None:
    # 10 columns in the same order in each of 10 blocks: ranks 1 to 10; q of k = 10 is 3.164, so the
    # critical difference is 3.164 * sqrt(10 * 11 / 60) = 4.28, and ranks up to 4 apart are tied
    test = statistics.friedman_nemenyi(-np.arange(10.0) + np.arange(10.0)[:, None])
    assert test.critical_difference == pytest.approx(4.28, abs=0.01)
    assert test.groups == [(first, first + 4) for first in range(6)]


def _independent(values: Sequence[float], others: Sequence[float]) -> statistics.Interval:
    first, second = (statistics.paired_estimate(np.array(sample)) for sample in (values, others))
    return statistics.independent_difference(first, second)


def test_an_independent_difference_by_hand() -> None:
    # means 3 and 1, variances 1 and 1, n = 3: 2 -+ t(0.975, 4) * sqrt(2 / 3) = 2.776 * 0.8165
    assert _independent([2, 3, 4], [0, 1, 2]) == pytest.approx((2, 2 - 2.2669, 2 + 2.2669), abs=1e-3)
    assert _independent([1, 1, 1], [0, 0, 0, 0]) == (1, 1, 1)
    assert np.isnan(_independent([1], [0, 0, 0, 0]).low)


def test_an_independent_difference_equals_scipys() -> None:
    values, others = np.random.default_rng(0).normal(0, 1, 8), np.random.default_rng(1).normal(0, 3, 5)
    expected = scipy_stats.ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    assert _independent(values.tolist(), others.tolist())[1:] == pytest.approx((expected.low, expected.high))


def test_a_test_is_significant_below_5_percent() -> None:
    assert statistics.PairedTest(statistics.Interval(1, 0.5, 1.5), 0.049, 6).significant
    assert not statistics.PairedTest(statistics.Interval(1, -0.5, 1.5), 0.05, 6).significant
