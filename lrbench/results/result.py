"""The result of a run, as plain data."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from lrbench.spec import PlainData, TrialSpec

CLASSES_OF_OLDER_RESULTS = 10  # results of lrbench 0.1 do not state their classes
MAX_POINTS = 2500  # per curve; MLflow's server returns no more

# Test accuracies beside the plain one, which they never replace: with several views of each image,
# of the average of the weights, and with both.
EXTRA_TEST_ACCURACIES = ("test/views_accuracy", "test/average_accuracy", "test/average_views_accuracy")

# The points of curves that grow, by metric: step, value, milliseconds since 1970.
Points = dict[str, list[tuple[int, float, int]]]
# Called at each evaluation of a run, with its number (from 1) and its accuracy. False prunes it.
ShouldContinue = Callable[[int, float], bool]


@dataclass(frozen=True)
class Progress:
    """The position of a run that is being trained.

    `epoch` counts the finished epochs, with a fraction. `lr` is the learning rate of the last step.
    `accuracy` is the last validation accuracy, None before the first evaluation. `points` are the
    new points of the curves. Most reports have no points.
    """

    epoch: float
    lr: float
    accuracy: float | None
    points: Points = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the fields as data that `json.dumps` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Progress":
        """Return the progress that `as_json` described. JSON has turned its tuples into lists."""
        points = {
            metric: [(step, value, time) for step, value, time in new] for metric, new in fields["points"].items()
        }
        return cls(fields["epoch"], fields["lr"], fields["accuracy"], points)


class Curve(PlainData):
    """A metric by optimizer step.

    `times` are milliseconds since 1970. They are kept so that publishing twice adds nothing.
    """

    steps: list[int]
    values: list[float]
    times: list[int]


class LossSpikes(PlainData):
    """The steps of a run whose training loss was NaN or far above the loss of guessing.

    A run often recovers from a blown-up start, and only its accuracy suffers. `first_step` counts
    from 0. `largest` is the largest finite loss among the spikes, None if all are NaN.
    """

    steps: NonNegativeInt
    first_step: NonNegativeInt | None = None
    largest: float | None = None


class TrialResult(PlainData):
    """One training run: its spec, curves, times and environment.

    The curves are `lr`, `train/loss`, `val/loss`, `val/accuracy`, `test/loss` and `test/accuracy`.
    `train.test_views` and `train.average` add the metrics of EXTRA_TEST_ACCURACIES. `loss_spikes`
    is None in results of lrbench 0.1, which did not count them.
    """

    spec: TrialSpec
    state: Literal["finished", "diverged", "pruned"]
    reason: str
    curves: dict[str, Curve]
    train_seconds: float
    eval_seconds: float
    environment: dict[str, str]
    classes: PositiveInt = CLASSES_OF_OLDER_RESULTS
    loss_spikes: LossSpikes | None = None

    @property
    def chance_accuracy(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.classes

    @property
    def has_loss_spikes(self) -> bool:
        """True if the training loss of a step was NaN or far above the loss of guessing."""
        return self.loss_spikes is not None and self.loss_spikes.steps > 0

    @property
    def steps_trained(self) -> int:
        """The optimizer steps that the run made, fewer than planned if it ended early."""
        return self.curves["lr"].steps[-1] + 1 if "lr" in self.curves else 0

    @property
    def best_test_accuracy(self) -> float | None:
        """The highest of several test accuracies, None if the run scored the test images once."""
        curve = self.curves.get("test/accuracy")
        return max(curve.values) if curve and len(curve.values) > 1 else None

    def last(self, metric: str) -> float:
        """Return the last value of a metric.

        If the run did not finish or lacks the metric, an accuracy is at chance and a loss is NaN.
        """
        curve = self.curves.get(metric)
        if self.state != "finished" or curve is None:
            return self.chance_accuracy if metric.endswith("accuracy") else math.nan
        return curve.values[-1]


def thinned(points: int) -> list[int]:
    """Return the indices of at most MAX_POINTS of `points` points, with the first and the last.

    >>> thinned(4), len(thinned(1_000_000)), thinned(1_000_000)[-1]
    ([0, 1, 2, 3], 2500, 999999)
    """
    if points <= MAX_POINTS:
        return list(range(points))
    return [round(index * (points - 1) / (MAX_POINTS - 1)) for index in range(MAX_POINTS)]
