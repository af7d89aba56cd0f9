"""The result of a run, as plain data."""

import math
from collections.abc import Callable
from typing import Literal

from pydantic import PositiveInt

from lrbench.spec import Spec, TrialSpec

CLASSES_OF_OLDER_RESULTS = 10  # results of lrbench 0.1 do not state their classes
MAX_POINTS = 2500  # per curve; MLflow's server returns no more

# The points of curves that grow, by metric: step, value, milliseconds since 1970.
Points = dict[str, list[tuple[int, float, int]]]
# Called at each evaluation of a run, with its number (from 1) and its accuracy. False prunes it.
ShouldContinue = Callable[[int, float], bool]


class Curve(Spec):
    """A metric by optimizer step.

    `times` are milliseconds since 1970. They are kept so that publishing twice adds nothing.
    """

    steps: list[int]
    values: list[float]
    times: list[int]


class TrialResult(Spec):
    """One training run: its spec, curves, times and environment.

    The curves are `lr`, `train/loss`, `val/loss`, `val/accuracy` and `test/accuracy`.
    """

    spec: TrialSpec
    state: Literal["finished", "diverged", "failed", "pruned"]
    reason: str
    curves: dict[str, Curve]
    train_seconds: float
    eval_seconds: float
    environment: dict[str, str]
    classes: PositiveInt = CLASSES_OF_OLDER_RESULTS

    @property
    def chance_accuracy(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.classes

    def last(self, metric: str) -> float:
        """Return the last value of a metric.

        If the run did not finish or lacks the metric, an accuracy is at chance and a loss is NaN.
        """
        curve = self.curves.get(metric)
        if self.state != "finished" or curve is None:
            return self.chance_accuracy if metric.endswith("accuracy") else math.nan
        return curve.values[-1]

    def without_times(self) -> dict[str, object]:
        """Return the part that a repeat on the same kind of CPU must reproduce bit by bit."""
        curves = {name: (curve.steps, curve.values) for name, curve in self.curves.items()}
        return {"spec": self.spec, "state": self.state, "reason": self.reason, "curves": curves}


def thinned(points: int) -> list[int]:
    """Return the indices of at most MAX_POINTS of `points` points, with the first and the last.

    >>> thinned(4), len(thinned(1_000_000)), thinned(1_000_000)[-1]
    ([0, 1, 2, 3], 2500, 999999)
    """
    if points <= MAX_POINTS:
        return list(range(points))
    return [round(index * (points - 1) / (MAX_POINTS - 1)) for index in range(MAX_POINTS)]
