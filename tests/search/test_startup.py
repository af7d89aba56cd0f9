"""The first trials of a search."""

import numpy as np
import pytest

from lrbench.config.compose import load_config
from lrbench.search.space import Space, search_space
from lrbench.search.startup import spread_points
from tests.conftest import SMALL


def _space(*overrides: str) -> Space:
    return search_space(load_config("config", [*SMALL, *overrides]))


@pytest.mark.parametrize("seed", range(20))
def test_each_half_and_each_quarter_of_a_range_gets_a_point(seed: int) -> None:
    space = _space("scheduler=cosine", "optimizer.search.lr={low: 0.01, high: 100.0, log: true}", "optimizer.lr=1")
    rates = sorted(np.log10([float(values["optimizer.lr"]) for values in spread_points(space, 4, seed)]))
    assert [int(rate + 2) for rate in rates] == [0, 1, 2, 3]


def test_schedulers_start_from_the_same_peak_rates() -> None:
    rates = {
        name: [values["optimizer.lr"] for values in spread_points(_space(f"scheduler={name}"), 5, 3)]
        for name in ("constant", "one_cycle", "warmup_stable_decay")
    }
    assert rates["constant"] == rates["one_cycle"] == rates["warmup_stable_decay"]


def test_more_points_continue_the_sequence_and_the_seed_changes_it() -> None:
    space = _space("scheduler=one_cycle")
    points = spread_points(space, 9, 0)
    assert spread_points(space, 3, 0) == points[:3]
    assert spread_points(space, 3, 1) != points[:3]
    assert spread_points(space, 0, 0) == []


def test_values_of_every_kind_are_in_their_range() -> None:
    space = _space(
        "scheduler=cosine_warm_restarts",
        "+optimizer.search.weight_decay={choices: [0.0005, 0.001]}",
        "+optimizer.search.bias_lr_factor={low: 0.5, high: 2.0}",
    )
    points = spread_points(space, 64, 0)
    for key, low, high in (("optimizer.lr", 0.05, 2.0), ("optimizer.bias_lr_factor", 0.5, 2.0)):
        assert all(low <= float(point[key]) <= high for point in points)
    assert {point["optimizer.weight_decay"] for point in points} == {0.0005, 0.001}
    cycles = [point["scheduler.knobs.cycles"] for point in points]
    counts = {value: cycles.count(value) for value in set(cycles)}
    assert all(isinstance(value, int) for value in cycles)
    assert max(counts.values()) <= 1.6 * min(counts.values())
