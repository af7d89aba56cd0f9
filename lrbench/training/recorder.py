"""The curves of a run as they grow."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lrbench.results.result import Curve, LossSpikes, Points, thinned

LOSS_POINTS = 100  # of the training loss; each is the mean over the steps since the previous one
SPIKE_FACTOR = 3  # a loss above this many times the loss of guessing is a spike


@dataclass(frozen=True)
class Outcome:
    """How a run ended. The reason is empty if it finished."""

    state: Literal["finished", "diverged", "pruned"]
    reason: str = ""


class RunRecorder:
    """The curves of a run as they grow, and its times.

    `outcome` is None until the run ends early. Losses stay on the device until an evaluation, so
    that training never waits for them. `loss_spikes` counts the losses far above the loss of
    guessing one of `classes`.
    """

    def __init__(self, total_steps: int, classes: int) -> None:
        self.steps, self.rate = 0, 0.0
        self.eval_seconds = 0.0  # of all evaluations so far
        self.outcome: Outcome | None = None
        self.loss_spikes = LossSpikes(steps=0)
        self._spike_loss = SPIKE_FACTOR * math.log(max(2, classes))
        self._started = time.perf_counter()
        self._losses: list[Tensor] = []  # that are still on the device
        self._block = max(1, math.ceil(total_steps / LOSS_POINTS))
        self._kept_steps = set(thinned(total_steps))
        self._points: Points = {"lr": [], "train/loss": []}
        self._n_reported: dict[str, int] = {}  # points that `new_points` has returned, by metric

    def add_step(self, loss: Tensor, rate: float) -> None:
        """Record the loss of a step, a tensor () on the device, and its learning rate."""
        self._losses.append(loss)
        self.rate = rate
        if self.steps in self._kept_steps:
            self._add(self.steps, "lr", rate)
        self.steps += 1

    def flush_losses(self) -> None:
        """Move the losses from the device into the curve, and count the spikes.

        End the run if a loss is not finite.
        """
        losses = torch.stack(self._losses).double().cpu().numpy()
        self._losses.clear()
        first = self.steps - len(losses)
        self._count_spikes(first, losses)
        for start in range(0, len(losses), self._block):
            block = losses[start : start + self._block]
            if not np.isfinite(block).all():
                self.end("diverged", f"the loss is not finite after {self.steps} steps")
                return
            self._add(first + start + len(block), "train/loss", float(block.mean()))

    def _count_spikes(self, first: int, losses: np.ndarray) -> None:
        """Add the spikes of the steps from number `first` on."""
        (spikes,) = np.nonzero(~(losses <= self._spike_loss))  # NaN too
        if not len(spikes):
            return
        before = self.loss_spikes
        finite = [float(loss) for loss in losses[spikes] if math.isfinite(loss)]
        self.loss_spikes = LossSpikes(
            steps=before.steps + len(spikes),
            first_step=first + int(spikes[0]) if before.first_step is None else before.first_step,
            largest=max([*finite, *([] if before.largest is None else [before.largest])], default=None),
        )

    def add(self, part: Literal["val", "test"], loss: float, accuracy: float) -> None:
        """Record an evaluation. End the run if its loss is not finite."""
        if not math.isfinite(loss):
            self.end("diverged", f"the {part} loss is not finite after {self.steps} steps")
            return
        self._add(self.steps, f"{part}/loss", loss)
        self._add(self.steps, f"{part}/accuracy", accuracy)

    def add_extra(self, metric: str, accuracy: float) -> None:
        """Record one of EXTRA_TEST_ACCURACIES."""
        self._add(self.steps, metric, accuracy)

    def end(self, state: Literal["diverged", "pruned"], reason: str) -> None:
        """Record that the run ends early. The curve of the learning rate includes its last step."""
        self.outcome = Outcome(state, reason)
        if self._points["lr"][-1][0] != self.steps - 1:  # the run ends between two points
            self._add(self.steps - 1, "lr", self.rate)

    def train_seconds(self) -> float:
        """Return the seconds of the run so far, without its evaluations."""
        return time.perf_counter() - self._started - self.eval_seconds

    def evaluations(self) -> list[tuple[int, float]]:
        """Return the numbers of the evaluations, from 1, and their validation accuracies."""
        return [(number, value) for number, (_, value, _) in enumerate(self._points.get("val/accuracy", []), 1)]

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        losses = torch.stack(self._losses).cpu() if self._losses else torch.zeros(0)
        seconds = time.perf_counter() - self._started
        numbers = {"steps": self.steps, "rate": self.rate, "seconds": seconds, "eval_seconds": self.eval_seconds}
        return {**numbers, "losses": losses, "points": self._points, "loss_spikes": self.loss_spikes.model_dump()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Resume from a checkpoint."""
        self.steps, self.rate = state["steps"], state["rate"]
        self._started, self.eval_seconds = time.perf_counter() - state["seconds"], state["eval_seconds"]
        self._losses, self._points = list(state["losses"].to(device).unbind()), state["points"]
        self.loss_spikes = LossSpikes.model_validate(
            state.get("loss_spikes", {"steps": 0})
        )  # older checkpoints lack it

    def latest(self, metric: str) -> float | None:
        """Return the last value of a metric, None if there is no value yet."""
        return self._points[metric][-1][1] if self._points.get(metric) else None

    def latest_loss(self) -> float:
        """Return the validation loss of the last evaluation.

        Without held-out images, it is the training loss.
        """
        return self._points.get("val/loss", self._points["train/loss"])[-1][1]

    def new_points(self) -> Points:
        """Return the points that are new since the last call."""
        new = {metric: points[self._n_reported.get(metric, 0) :] for metric, points in self._points.items()}
        self._n_reported = {metric: len(points) for metric, points in self._points.items()}
        return {metric: points for metric, points in new.items() if points}

    def curves(self) -> dict[str, Curve]:
        """Return the curves so far, by metric."""
        curves = {}
        for metric, points in self._points.items():
            if points:
                steps, values, times = map(list, zip(*points, strict=True))
                curves[metric] = Curve(steps=steps, values=values, times=times)
        return curves

    def _add(self, step: int, metric: str, value: float) -> None:
        self._points.setdefault(metric, []).append((step, value, round(time.time() * 1000)))
