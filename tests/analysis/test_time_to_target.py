"""The time to a target accuracy, from artificial results that a reader can check by hand."""

import math

import pytest

from lrbench.analysis.ranking import rank_schedulers
from lrbench.analysis.time_to_target import TimeToTarget, default_target, time_to_target
from lrbench.results.result import Curve
from tests.builders import Run, sweep_of


def test_time_to_a_target_by_hand(run: Run) -> None:
    """Each run has 80 steps in four epochs, and trains for 8 seconds."""
    runs = [
        run(validation=[0.5, 0.62, 0.6, 0.7]),  # reaches 0.61 after two of four epochs
        run(validation=[0.5, 0.6, 0.6, 0.61]),  # after four
        run(validation=[0.5, 0.5, 0.5, 0.52]),  # never
    ]
    assert default_target([runs]) == 0.61  # the mean of 0.7, 0.61 and 0.52
    assert time_to_target(runs, 0.61) == TimeToTarget(2, 3, 4.0, 8.0)  # the medians
    assert time_to_target(runs, 0.5) == TimeToTarget(3, 3, 1.0, 2.0)
    assert time_to_target(runs, 0.62) == TimeToTarget(1, 3, math.inf, math.inf)


def test_the_seconds_of_a_diverged_run_are_shared_by_the_steps_that_it_made(run: Run) -> None:
    """It trained for 8 seconds and diverged after 40 of 80 steps, so an epoch of 20 took 4."""
    whole = run(state="diverged", validation=[0.7, 0.7, 0.7, 0.7])
    curves = {"lr": _first(whole.curves["lr"], 40), "val/accuracy": _first(whole.curves["val/accuracy"], 2)}
    diverged = whole.model_copy(update={"curves": curves})
    assert diverged.steps_trained == 40
    assert time_to_target([diverged], 0.6) == TimeToTarget(1, 1, 1.0, 4.0)
    assert time_to_target([diverged], 0.8) == TimeToTarget(0, 1, math.inf, math.inf)


def _first(curve: Curve, points: int) -> Curve:
    return Curve(steps=curve.steps[:points], values=curve.values[:points], times=curve.times[:points])


def test_a_scheduler_with_a_diverged_run_does_not_set_the_target(run: Run) -> None:
    sound, diverged = run(validation=[0.71]), run(state="diverged", validation=[0.5])
    assert default_target([[sound], [sound, diverged]]) == 0.71
    assert default_target([[diverged]]) is None


def test_a_ranking_has_the_time_to_its_target(run: Run) -> None:
    results = [run(phase="search", seed=0, validation=[0.6]), run(validation=[0.5, 0.7], test=0.7)]
    ranking = rank_schedulers(results)
    assert (ranking.target, ranking.rows[0].time_to_target) == (0.7, TimeToTarget(1, 1, 4.0, 8.0))
    ranking = rank_schedulers(results, target=0.5)
    assert (ranking.target, ranking.rows[0].time_to_target) == (0.5, TimeToTarget(1, 1, 2.0, 4.0))


@pytest.mark.parametrize("target", [None, 0.5])
def test_without_held_out_images_there_is_no_time(run: Run, target: float | None) -> None:
    ranking = rank_schedulers(sweep_of(run, {"cosine": [0.8, 0.9]}), target=target)
    assert ranking.target == target
    assert ranking.rows[0].time_to_target is None
