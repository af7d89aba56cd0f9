"""The two-way layout of schedulers and searches."""

import numpy as np
import pytest

from lrbench.analysis.comparison import Layout, Values, compare_by_search, compare_by_seed
from lrbench.analysis.statistics import MIN_SEARCHES, holm_tests
from scripts.benchmarks.claims import ACCURATE, SMALL, Design, Network, false_claims, power


def _values(rows: list[list[float]]) -> list[Values]:
    return [dict(enumerate(row)) for row in rows]


def test_a_layout_by_hand() -> None:
    """The residuals are ±0.5, ±0.5 and 0, so their squares sum to 1.

    They have (3 - 1) * (2 - 1) degrees of freedom, so the variance is 0.5, and the error of a
    difference of means of two is sqrt(0.5 * (1/2 + 1/2)).
    """
    layout = compare_by_search(_values([[10, 11], [5, 4], [3, 3]]))
    assert layout.difference(0, 1) == pytest.approx((6, 0.5**0.5, 2, 2))
    assert layout.difference(1, 0).mean == pytest.approx(-6)
    assert [mean.mean for mean in layout.means] == pytest.approx([10.5, 4.5, 3])


def test_the_differences_do_not_depend_on_what_a_search_adds_to_all() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(5, 4))
    before = compare_by_search(_values(rows.tolist()))
    after = compare_by_search(_values((rows + np.array([10, 0, -3, 1])).tolist()))
    for pair, estimate in before.estimates.items():
        assert after.estimates[pair] == pytest.approx(estimate)


def test_two_schedulers_are_compared_by_a_paired_t_test() -> None:
    rows = _values([[1.0, 2.0, 4.0], [0.5, 1.0, 2.0]])
    assert compare_by_search(rows).difference(0, 1) == pytest.approx(compare_by_seed(rows).difference(0, 1))


def test_a_scheduler_that_lacks_a_search_is_compared_in_the_others() -> None:
    """Without the second search of the last one, the difference comes from the first search."""
    layout = compare_by_search([{0: 1.0, 1: 5.0, 2: 3.0}, {0: 2.0, 1: 6.0, 2: 4.0}, {0: 4.0, 2: 6.0}])
    assert layout.difference(2, 0) == pytest.approx((3, 0, 3, 2), abs=1e-6)


def test_equal_values_show_equality_and_no_difference() -> None:
    layout = compare_by_search(_values([[0.1, 0.7, 0.2]] * 3))
    tests = holm_tests(list(layout.estimates.values()), needed=MIN_SEARCHES)
    assert {test.verdict for test in tests} == {"equal"}


def _with_one_noisy(factor: float, seed: int) -> Layout:
    noise = np.random.default_rng(seed).normal(size=(9, 6))
    noise[4] *= factor
    return compare_by_search(_values(noise.tolist()))


def test_a_scheduler_that_scatters_more_has_its_own_deviation() -> None:
    found = [_with_one_noisy(6, seed).noisy for seed in range(50)]
    assert sum(4 in noisy for noisy in found) >= 45
    layout = next(layout for seed in range(50) if (layout := _with_one_noisy(6, seed)).noisy == [4])
    assert {layout.difference(4, other).freedom for other in range(9) if other != 4} == {5}
    assert {layout.difference(0, other).freedom for other in (1, 2, 3, 5)} == {7 * 5}
    assert layout.errors[4] > 2 * layout.errors[0]


def test_schedulers_that_scatter_alike_share_the_deviation_in_95_of_100_sweeps() -> None:
    noisy = [bool(_with_one_noisy(1, seed).noisy) for seed in range(400)]
    assert np.mean(noisy) == pytest.approx(0.05, abs=0.03)


def test_the_interval_of_a_mean_covers_the_truth() -> None:
    """The values have noise of the search, which all share, and separate noise."""
    rng, covered = np.random.default_rng(1), []
    for _ in range(400):
        values = 0.5 * rng.normal(size=(1, 4)) + rng.normal(size=(6, 4))
        covered += [mean.low < 0 < mean.high for mean in compare_by_search(_values(values.tolist())).means]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("network", [SMALL, ACCURATE], ids=["small", "accurate"])
@pytest.mark.parametrize("design", [Design(4, 5, 3, 2), Design(4, 3, 0, 1)], ids=["cpu", "quick"])
def test_at_most_5_percent_of_sweeps_of_equal_schedulers_claim_a_difference(network: Network, design: Design) -> None:
    """0.08 is three standard deviations of 200 sweeps above 0.05, less the rounding."""
    assert false_claims(network, design, schedulers=9, repeats=200) <= 0.09


def test_one_search_claims_differences_of_equal_schedulers() -> None:
    """Its claims are about configurations. As claims about schedulers, they are mostly luck."""
    assert false_claims(ACCURATE, Design(1, 12, 0, 8), schedulers=9, repeats=60) > 0.5


def test_a_point_of_difference_is_found() -> None:
    assert power(SMALL, Design(4, 5, 3, 2), schedulers=9, repeats=40) > 0.65
    assert power(ACCURATE, Design(4, 5, 3, 2), schedulers=9, repeats=40) > 0.9


def test_the_difference_of_schedulers_without_a_chain_of_shared_searches_is_unknown() -> None:
    layout = compare_by_search([{0: 1.0, 1: 2.0, 2: 1.5}, {0: 2.0, 1: 2.5, 2: 2.5}, {3: 9.0, 4: 8.0, 5: 7.0}])
    assert layout.difference(0, 1).pairs == 3
    assert layout.difference(2, 0).freedom == 0 and np.isnan(layout.difference(2, 0).mean)
    assert [mean.mean for mean in layout.means] == pytest.approx([1.5, 7 / 3, 8])


def test_a_chain_of_shared_searches_gives_a_difference() -> None:
    """The first and the last share no search. Both share two with the second."""
    layout = compare_by_search([{0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0, 2: 5.0, 3: 4.0}, {2: 7.0, 3: 6.0}])
    assert layout.difference(2, 0).mean == pytest.approx(1) and layout.difference(2, 0).pairs == 0


def test_the_mean_of_a_scheduler_with_fewer_searches_has_a_larger_error() -> None:
    rng, wide, covered = np.random.default_rng(2), [], []
    for _ in range(300):
        values = 0.5 * rng.normal(size=(1, 6)) + rng.normal(size=(5, 6))
        rows = [dict(enumerate(row)) for row in values.tolist()]
        rows[0] = {search: rows[0][search] for search in (0, 1)}
        layout = compare_by_search(rows)
        wide.append(layout.errors[0] > 1.3 * layout.errors[1])
        covered.append(layout.means[0].low < 0 < layout.means[0].high)
    assert np.mean(wide) > 0.95 and np.mean(covered) == pytest.approx(0.95, abs=0.03)
