"""Reports the progress of a run while it is being trained."""

import time
from collections.abc import Callable

from lrbench.results.result import Progress
from lrbench.training.recorder import RunRecorder

PROGRESS_SECONDS = 0.2  # between two reports
LIVE_AFTER_SECONDS = 30.0  # a longer run reports its curves while they grow, so that MLflow shows them
LIVE_EVERY_SECONDS = 5.0  # between two reports with new points of the curves


class ProgressReporter:
    """Reports a run after each evaluation, and every PROGRESS_SECONDS between them."""

    def __init__(self, on_progress: Callable[[Progress], None], steps_per_epoch: int) -> None:
        now = time.perf_counter()
        self._on_progress, self._steps_per_epoch = on_progress, steps_per_epoch
        self._next_report, self._next_points = now, now + LIVE_AFTER_SECONDS

    def report(self, recorder: RunRecorder, *, after_evaluation: bool) -> None:
        """Report the run if it is time, and at once after an evaluation."""
        now = time.perf_counter()
        if now <= self._next_report and not after_evaluation:
            return
        points = recorder.new_points() if now > self._next_points else {}
        if points:
            self._next_points = now + LIVE_EVERY_SECONDS
        self._next_report = now + PROGRESS_SECONDS
        epoch = recorder.steps / self._steps_per_epoch
        self._on_progress(Progress(epoch, recorder.rate, recorder.latest("val/accuracy"), points))
