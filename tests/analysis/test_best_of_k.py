"""The best of k trials."""

import itertools

import numpy as np
import pytest

from lrbench.analysis.best_of_k import best_of_k


def test_the_best_of_k_by_hand() -> None:
    """Two trials: the default 0.5, then one of 0.4, 0.6 and 0.8."""
    two = best_of_k([0.5], [0.4, 0.6, 0.8], 2)
    assert tuple(two) == pytest.approx((2, (0.5 + 0.6 + 0.8) / 3, 0.5, 0.8))
    assert best_of_k([0.5], [0.4, 0.6, 0.8], 4).mean == pytest.approx(0.8)


def test_one_trial_is_the_default() -> None:
    assert best_of_k([0.3, 0.5], [0.9], 1).mean == pytest.approx(0.4)


@pytest.mark.parametrize("trials", [1, 2, 3, 5])
def test_it_is_the_mean_over_all_searches(trials: int) -> None:
    rng = np.random.default_rng(0)
    defaults, sampled = rng.random(3).tolist(), rng.random(7).tolist()
    best = [
        max(default, *others) if others else default
        for default in defaults
        for others in itertools.combinations(sampled, trials - 1)
    ]
    found = best_of_k(defaults, sampled, trials)
    assert found.mean == pytest.approx(np.mean(best))
    assert np.mean(np.array(best) <= found.low) >= 0.1 - 1e-9
    assert np.mean(np.array(best) < found.high) <= 0.9


def test_more_trials_than_there_are() -> None:
    with pytest.raises(ValueError, match="must be at most 3"):
        best_of_k([0.5], [0.4, 0.6], 4)
