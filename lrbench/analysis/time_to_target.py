"""The time until runs reach a validation accuracy, in epochs and in seconds of training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrbench.results.result import TrialResult


@dataclass(frozen=True)
class TimeToTarget:
    """How many of the final runs reached the target, and their median epochs and training seconds.

    `runs` of `total` runs reached it. The medians are inf if half of the runs did not reach it.
    """

    runs: int
    total: int
    epochs: float
    seconds: float


def default_target(finals: Sequence[Sequence[TrialResult]]) -> float | None:
    """Return the lowest mean validation accuracy of a scheduler, rounded down to a whole percent.

    `finals` has the final runs of each scheduler. Schedulers with diverged runs do not count.
    Return None if no scheduler counts, or if the runs held out no images.
    """
    sound = [runs for runs in finals if all(run.state == "finished" for run in runs)]
    if not sound or not all("val/accuracy" in run.curves for runs in sound for run in runs):
        return None
    lowest = min(float(np.mean([run.last("val/accuracy") for run in runs])) for runs in sound)
    return math.floor(100 * lowest + 1e-9) / 100


def time_to_target(runs: Sequence[TrialResult], target: float) -> TimeToTarget | None:
    """Return when the runs first reached the target, None if they have no validation accuracy."""
    if not any("val/accuracy" in run.curves for run in runs):
        return None
    steps = [_first_step_at(run, target) for run in runs]
    epochs = [step / run.spec.train.steps_per_epoch for run, step in zip(runs, steps, strict=True)]
    seconds = [_seconds_until(run, step) for run, step in zip(runs, steps, strict=True)]
    return TimeToTarget(sum(map(math.isfinite, steps)), len(runs), _median(epochs), _median(seconds))


def _first_step_at(run: TrialResult, target: float) -> float:
    """Return the step of the first evaluation that reached the target, inf if none did."""
    curve = run.curves.get("val/accuracy")
    points = zip(curve.steps, curve.values, strict=True) if curve else ()
    return next((step for step, value in points if value >= target), math.inf)


def _seconds_until(run: TrialResult, step: float) -> float:
    """Return the seconds of training until `step`, inf if `step` is inf.

    All steps of a run take about the same time. A diverged run made fewer steps than planned.
    """
    return run.train_seconds * step / run.steps_trained if math.isfinite(step) else math.inf


def _median(values: Sequence[float]) -> float:
    """Return the median. It is inf if half of the values are.

    >>> _median([1.0, 3.0, 8.0, math.inf]), _median([1.0, math.inf])
    (5.5, inf)
    """
    low, high = sorted(values)[(len(values) - 1) // 2], sorted(values)[len(values) // 2]
    return (low + high) / 2
