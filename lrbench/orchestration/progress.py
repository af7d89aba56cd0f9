"""The progress of runs: a live table in a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lrbench.results.result import Progress, TrialResult
from lrbench.spec import TrialSpec
from lrbench.text import Log, counted, duration


@contextmanager
def status_log(console: Console) -> Iterator[Log]:
    """Yield a function that prints a line. A terminal shows a spinner below the lines."""
    spinner = console.status("checking the schedules, the network and the data")
    with spinner if console.is_terminal else nullcontext():
        yield lambda text: console.print(text, highlight=False, markup=False)


class ProgressBoard(AbstractContextManager["ProgressBoard"]):
    """Shows the running and finished runs, the best accuracy and the time left.

    The sweep has `runs` runs with `steps` optimizer steps in total. Runs are counted in the main
    thread; `progress` is called from any thread.
    """

    def __init__(self, console: Console, runs: int, steps: int) -> None:
        self._console, self._total, self._done, self._failed = console, runs, 0, 0
        self._steps_left, self._steps_trained, self._start = steps, 0, time.monotonic()
        self._running: dict[str, tuple[TrialSpec, Progress]] = {}
        self._best: tuple[float, str] = (0.0, "")
        self._lock = threading.RLock()
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __enter__(self) -> "ProgressBoard":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def skip(self, steps: Sequence[int]) -> None:
        """Take planned runs of these lengths off the total."""
        self._total -= len(steps)
        self._steps_left -= sum(steps)

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        """Update the position of a run."""
        with self._lock:
            if not self._running and not self._steps_trained:
                self._start = time.monotonic() - 1  # the time before, such as importing torch, will not repeat
            self._running[spec.key()] = spec, progress

    def finish(self, result: TrialResult) -> None:
        """Count a run that ended with a result, and print it."""
        self._steps_left -= result.spec.train.total_steps
        self._steps_trained += result.spec.train.total_steps
        metric, accuracy = self._count_done(result)
        outcome = f"{metric} {100 * accuracy:.2f} %" if result.state == "finished" else result.state
        if result.has_loss_spikes:
            outcome += f", unstable ({_spikes(result)})"
        seconds = result.train_seconds + result.eval_seconds
        line = f"{self._count()} {result.spec.name()}: {outcome} in {seconds:.1f} s{self._time_left()}"
        self._console.print(line, highlight=False, markup=False)

    def reuse(self, result: TrialResult) -> None:
        """Count a run that finished before this start, without a line."""
        self._steps_left -= result.spec.train.total_steps
        self._count_done(result)

    def fail(self, spec: TrialSpec, reason: str) -> None:
        """Count a run that ended without a result, and print the reason."""
        with self._lock:
            self._running.pop(spec.key(), None)
            self._failed += 1
        self._steps_left -= spec.train.total_steps
        line = f"{self._count()} {spec.name()}: failed: {reason}"
        self._console.print(line, style="red", highlight=False, markup=False)

    def _count_done(self, result: TrialResult) -> tuple[str, float]:
        """Count a run with a result, and return its metric and accuracy."""
        metric = "test/accuracy" if result.spec.is_scored_on_test else "val/accuracy"
        accuracy = result.last(metric)
        with self._lock:
            self._running.pop(result.spec.key(), None)
            self._done += 1
            self._best = max(self._best, (accuracy, result.spec.name()))
        return metric, accuracy

    def _count(self) -> str:
        return f"[{self._done + self._failed}/{self._total}]"

    def _time_left(self) -> str:
        with self._lock:
            running = sum(progress.epoch * spec.train.steps_per_epoch for spec, progress in self._running.values())
        trained, left = self._steps_trained + running, self._steps_left - running
        if not trained or left <= 0:
            return ""
        return f", {duration((time.monotonic() - self._start) / trained * left)} left"

    def _render(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("running", "epoch", "rate", "val accuracy"):
            table.add_column(column, justify="left" if column == "running" else "right")
        with self._lock:
            for spec, progress in self._running.values():
                accuracy = "" if progress.accuracy is None else f"{100 * progress.accuracy:.2f} %"
                epoch = f"{progress.epoch:.1f}/{spec.train.epochs:g}"
                table.add_row(spec.name(), epoch, f"{progress.lr:.4g}", accuracy)
            best = f"; best so far {100 * self._best[0]:.2f} % ({self._best[1]})" if self._best[1] else ""
            failed = f", {self._failed} failed" if self._failed else ""
            summary = f"{self._done} of {self._total} done{failed}{self._time_left()}{best}"
        return Group(table, Text(summary, style="bold"))


def _spikes(result: TrialResult) -> str:
    """Return the loss spikes of a run in words."""
    spikes = result.loss_spikes
    assert spikes
    loss = "a NaN loss" if spikes.largest is None else f"loss up to {spikes.largest:.3g}"
    return f"{loss} in {counted(spikes.steps, 'step')}, the first is step {spikes.first_step}"
