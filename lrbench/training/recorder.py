"""The curves of a run as they grow."""

import math
import time
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lrbench.results.result import Curve, Points, thinned

LOSS_POINTS = 100  # of the training loss; each is the mean over the steps since the previous one


class RunRecorder:
    """The curves of a run as they grow, and how the run ended.

    Losses stay on the device until an evaluation, so that training never waits for them.
    """

    def __init__(self, total_steps: int) -> None:
        self.losses: list[Tensor] = []
        self.steps, self.rate = 0, 0.0
        self.seconds = 0.0  # of the run until its last checkpoint, with the evaluations
        self.eval_seconds = 0.0  # of all evaluations so far
        self.state: Literal["finished", "diverged", "pruned"] = "finished"
        self.reason = ""
        self._block = max(1, math.ceil(total_steps / LOSS_POINTS))
        self._kept_steps = set(thinned(total_steps))
        self._points: Points = {"lr": [], "train/loss": []}
        self._n_reported: dict[str, int] = {}  # points that `new_points` has returned, by metric

    def add_rate(self, rate: float) -> None:
        """Record the learning rate of a step, which is then finished."""
        self.rate = rate
        if self.steps in self._kept_steps:
            self._add(self.steps, "lr", rate)
        self.steps += 1

    def flush_losses(self) -> None:
        """Move the losses from the device into the curve. End the run if one is not finite."""
        losses = torch.stack(self.losses).double().cpu().numpy()
        self.losses.clear()
        first = self.steps - len(losses)
        for start in range(0, len(losses), self._block):
            block = losses[start : start + self._block]
            if not np.isfinite(block).all():
                self.end("diverged", f"the loss is not finite after {self.steps} steps")
                return
            self._add(first + start + len(block), "train/loss", float(block.mean()))

    def add(self, part: Literal["val", "test"], loss: float, accuracy: float) -> None:
        """Record an evaluation. End the run if its loss is not finite."""
        if not math.isfinite(loss):
            self.end("diverged", f"the {part} loss is not finite after {self.steps} steps")
            return
        self._add(self.steps, f"{part}/loss", loss)
        self._add(self.steps, f"{part}/accuracy", accuracy)

    def end(self, state: Literal["diverged", "pruned"], reason: str) -> None:
        """Record that the run ends early."""
        self.state, self.reason = state, reason

    def evaluations(self) -> list[tuple[int, float]]:
        """Return the numbers of the evaluations, from 1, and their validation accuracies."""
        return [(number, value) for number, (_, value, _) in enumerate(self._points.get("val/accuracy", []), 1)]

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        losses = torch.stack(self.losses).cpu() if self.losses else torch.zeros(0)
        numbers = {"steps": self.steps, "rate": self.rate, "seconds": self.seconds, "eval_seconds": self.eval_seconds}
        return {**numbers, "losses": losses, "points": self._points}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Resume from a checkpoint."""
        self.steps, self.rate = state["steps"], state["rate"]
        self.seconds, self.eval_seconds = state["seconds"], state["eval_seconds"]
        self.losses, self._points = list(state["losses"].to(device).unbind()), state["points"]

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
        """Return the curves so far, by metric. The learning rate's has the last step."""
        if self._points["lr"][-1][0] != self.steps - 1:  # the run ended between two points
            self._add(self.steps - 1, "lr", self.rate)
        curves = {}
        for metric, points in self._points.items():
            if points:
                steps, values, times = map(list, zip(*points, strict=True))
                curves[metric] = Curve(steps=steps, values=values, times=times)
        return curves

    def _add(self, step: int, metric: str, value: float) -> None:
        self._points.setdefault(metric, []).append((step, value, round(time.time() * 1000)))
