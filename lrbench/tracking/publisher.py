"""Publishes runs to MLflow in a thread, while others are trained."""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from lrbench.results.result import Points, TrialResult
from lrbench.spec import TrialSpec
from lrbench.text import Log
from lrbench.tracking import mlflow_views
from lrbench.tracking.mlflow_client import tracking_uri
from lrbench.tracking.mlflow_store import MlflowStore

RETRY_SECONDS = 60.0  # from a failure of the store to the next try
LOG_AFTER_SECONDS = 2.0  # a longer wait in `close` logs a line
TASK_TIMEOUT_SECONDS = 60.0  # `close` gives up if no task ends in this time
EARLY_CLOSE_SECONDS = 5.0  # how long `close` waits after an interrupt or an error
NICENESS = 10  # of the thread, because training comes first
_Task = Callable[[MlflowStore], None]


class Publisher(AbstractContextManager["Publisher"]):
    """Publishes the runs of one experiment in its own thread.

    Training never waits for it and never fails with it. A run that MLflow has already is not
    published again. If MLflow is unreachable, the tasks wait. They are tried again later, and at
    the end.
    """

    def __init__(self, out: Path, uri: str | None, experiment: str) -> None:
        self.failure: str | None = None  # the reason why tasks wait, or why they were given up
        self.page: str | None = None  # of the experiment, once the store has been opened
        self.waiting = 0  # about the number of tasks that are not done
        self._out, self._uri, self._experiment = out, tracking_uri(out, uri), experiment
        self._queue: queue.Queue[_Task | None] = queue.Queue()
        self._closes_early = False
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close("FINISHED")
        elif issubclass(kind, KeyboardInterrupt):
            self.close("KILLED")
        else:
            self.close("FAILED")

    def publish(self, result: TrialResult) -> None:
        """Publish a run that has ended."""
        self._put(lambda store: store.add_result(result))

    def publish_points(self, spec: TrialSpec, points: Points) -> None:
        """Publish new points of a run that is being trained. Does nothing if there are none."""
        if points:
            self._put(lambda store: store.add_points(spec, points))

    def publish_failure(self, spec: TrialSpec, reason: str) -> None:
        """Publish that a run ended without a result."""
        self._put(lambda store: store.add_failure(spec, reason))

    def publish_best(self, final: TrialResult, best: Mapping[str, object]) -> None:
        """Publish the values that a search chose and the curves of a final run, on the scheduler's
        parent run.
        """
        self._put(lambda store: store.set_best(final, best))

    def publish_report(self, folder: Path) -> None:
        """Publish a sweep's report and pictures on each parent run that has changed."""
        self._put(lambda store: store.add_report(folder))

    def close(self, status: str = "FINISHED", log: Log = lambda text: None) -> None:
        """Wait until everything is published, and end the parent runs with `status`.

        If that fails, `failure` is the reason. With another status than FINISHED, this waits for
        EARLY_CLOSE_SECONDS at most and leaves the rest to the next start.
        """
        self._closes_early = status != "FINISHED"
        self._put(lambda store: store.close(status))
        self._queue.put(None)
        if self._closes_early:
            self._thread.join(EARLY_CLOSE_SECONDS)
            return
        self._thread.join(LOG_AFTER_SECONDS)
        if self._thread.is_alive():
            log(f"waiting for MLflow: about {self.waiting} updates are not published yet")
        waiting_before = -1
        while self._thread.is_alive() and self.waiting != waiting_before:
            waiting_before = self.waiting
            self._thread.join(TASK_TIMEOUT_SECONDS)
        if self._thread.is_alive():
            self.failure = f"one update took longer than {TASK_TIMEOUT_SECONDS:g} s"

    def _put(self, task: _Task) -> None:
        self.waiting += 1
        self._queue.put(task)

    def _work(self) -> None:
        """Do the tasks in their order. After a failure, try again at intervals and at the end."""
        _lower_priority()
        tasks: deque[_Task] = deque()
        retry_time, store = 0.0, None
        for task in iter(self._queue.get, None):
            tasks.append(task)
            if time.monotonic() >= retry_time:
                store = self._publish(tasks, store)
                retry_time = 0.0 if store else time.monotonic() + RETRY_SECONDS
        self._publish(tasks, store)

    def _publish(self, tasks: "deque[_Task]", store: MlflowStore | None) -> MlflowStore | None:
        """Do the tasks in `store`. Without one, open it first.

        Return the store, None if a task failed: then `failure` is the reason, and the task stays.
        """
        try:
            store = store or MlflowStore(self._out, self._uri, self._experiment)
            self.page = mlflow_views.page(store.experiment_id)
            while tasks:
                is_last = len(tasks) == 1
                # If it closes early, it does only the last task, which ends the open runs.
                if is_last or not self._closes_early:
                    tasks[0](store)
                tasks.popleft()
                self.waiting = len(tasks) + self._queue.qsize()
        except Exception as error:  # any failure of MLflow: training continues, and the results are on disk
            self.failure = (str(error) or type(error).__name__).splitlines()[0]
            return None
        self.failure = None
        return store


class NoPublisher(Publisher):
    """Publishes nothing, for `tracking=none`."""

    def __init__(self) -> None:
        self.failure, self.page, self.waiting = None, None, 0

    def close(self, status: str = "FINISHED", log: Log = lambda text: None) -> None:
        """Do nothing."""

    def _put(self, task: _Task) -> None:
        pass


def open_publisher(out: Path, tracking: Mapping[str, Any], experiment: str) -> Publisher:
    """Return the publisher that the config group `tracking` names.

    Without a `uri`, the store is in the folder `out`.
    """
    return NoPublisher() if tracking["name"] == "none" else Publisher(out, tracking["uri"], experiment)


def _lower_priority() -> None:
    """Lower the priority of this thread, on Linux."""
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
