import numpy as np
import pytest

from lrbench.stats import paired_difference, t_interval


def test_interval_of_three_values_by_hand() -> None:
    # mean 4, deviation 2, t(0.975, 2) = 4.3027: 4 -+ 4.3027 * 2 / sqrt(3)
    assert t_interval(np.array([2.0, 4.0, 6.0])) == pytest.approx((4, -0.968, 8.968), abs=1e-3)


def test_one_value_has_no_interval() -> None:
    mean, low, high = t_interval(np.array([0.5]))
    assert mean == 0.5
    assert np.isnan([low, high]).all()


def test_pairing_takes_out_what_the_pairs_share() -> None:
    seeds = np.array([0.1, 0.5, 0.9, 0.3])
    assert paired_difference(seeds + 0.01, seeds) == pytest.approx((0.01, 0.01, 0.01))
