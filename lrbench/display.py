"""What a person sees while runs are trained: a live table in a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lrbench.results import TrialResult
from lrbench.spec import TrialSpec


@contextmanager
def saying(console: Console) -> Iterator[Callable[[str], None]]:
    """Give a function that says what is found and prepared, in a line each: above a spinner in a terminal."""
    waiting = console.status("looking at the schedules, the network and the data") if console.is_terminal else nullcontext()
    with waiting:
        yield lambda text: console.print(text, highlight=False, markup=False)


class Board(AbstractContextManager["Board"]):
    """The runs in flight, what is done, the best so far and the time left: of `runs` runs with `steps` optimizer steps in all."""

    def __init__(self, console: Console, runs: int, steps: int) -> None:
        self._console, self._total, self._done, self._failed = console, runs, 0, 0
        self._steps_left, self._steps_trained, self._start = steps, 0, time.monotonic()
        self._running: dict[str, tuple[TrialSpec, Mapping[str, float | None]]] = {}
        self._best: tuple[float, str] = (0.0, "")
        self._lock = threading.Lock()
        self._live = (
            Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True) if console.is_terminal else None
        )

    def __enter__(self) -> "Board":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def spare(self, steps: Sequence[int]) -> None:
        """Take in that the sweep does not need runs of so many steps that it was thought to."""
        self._total -= len(steps)
        self._steps_left -= sum(steps)

    def progress(self, spec: TrialSpec, progress: Mapping[str, float | None]) -> None:
        """Take in where a run stands: `epoch`, `lr`, `accuracy`."""
        with self._lock:
            if not self._running and not self._steps_trained:
                self._start = time.monotonic() - 1  # what came before, such as importing torch, will not come again
            self._running[spec.key()] = spec, progress

    def finished(self, result: TrialResult) -> None:
        """Take in a run that ended with a result."""
        self._steps_left -= result.spec.train.total_steps
        self._steps_trained += result.spec.train.total_steps
        metric, accuracy = self._count_in(result)
        outcome = f"{metric} {100 * accuracy:.2f} %" if result.state == "finished" else result.state
        seconds = result.train_seconds + result.eval_seconds
        self._console.print(
            f"{self._count()} {name(result.spec)}: {outcome} in {seconds:.1f} s{self._left()}", highlight=False, markup=False
        )

    def known(self, result: TrialResult) -> None:
        """Take in a run that had ended before."""
        self._steps_left -= result.spec.train.total_steps
        self._count_in(result)

    def failed(self, spec: TrialSpec, reason: str) -> None:
        """Take in a run that ended without a result."""
        with self._lock:
            self._running.pop(spec.key(), None)
            self._failed += 1
        self._steps_left -= spec.train.total_steps
        self._console.print(f"{self._count()} {name(spec)}: failed: {reason}", style="red", highlight=False, markup=False)

    def _count_in(self, result: TrialResult) -> tuple[str, float]:
        metric = "test/accuracy" if result.spec.phase == "final" else "val/accuracy"
        accuracy = result.last(metric)
        with self._lock:
            self._running.pop(result.spec.key(), None)
            self._done += 1
            self._best = max(self._best, (accuracy, name(result.spec)))
        return metric, accuracy

    def _count(self) -> str:
        return f"[{self._done + self._failed}/{self._total}]"

    def _left(self) -> str:
        flying = sum((at["epoch"] or 0) * spec.train.steps_per_epoch for spec, at in self._running.values())
        trained, left = self._steps_trained + flying, self._steps_left - flying
        if not trained or left <= 0:
            return ""
        return f", {duration((time.monotonic() - self._start) / trained * left)} left"

    def _render(self) -> Group:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("running", "epoch", "rate", "val accuracy"):
            table.add_column(column, justify="left" if column == "running" else "right")
        with self._lock:
            for spec, at in self._running.values():
                accuracy = at["accuracy"]
                shown = "" if accuracy is None else f"{100 * accuracy:.2f} %"
                table.add_row(name(spec), f"{at['epoch']:.1f}/{spec.train.epochs:g}", f"{at['lr']:.4g}", shown)
            best = f"; best so far {100 * self._best[0]:.2f} % ({self._best[1]})" if self._best[1] else ""
            failed = f", {self._failed} failed" if self._failed else ""
            summary = f"{self._done} of {self._total} done{failed}{self._left()}{best}"
        return Group(table, Text(summary, style="bold"))


def name(spec: TrialSpec) -> str:
    """Return a run's name for people."""
    trial = f" trial {spec.trial}" if spec.phase == "search" and spec.trial is not None else ""
    return f"{spec.scheduler.name} {spec.phase}{trial} seed {spec.seed}"


def duration(seconds: float) -> str:
    """Return a time for people."""
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"
