"""Publish runs while others are trained."""

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType

from lrbench import views
from lrbench.results import Points, TrialResult
from lrbench.spec import TrialSpec
from lrbench.store import Store, uri_of

RETRY_SECONDS = 60.0  # between two tries to reach a store that has failed
SAY_AFTER_SECONDS, PATIENCE_SECONDS, HURRY_SECONDS = 2.0, 60.0, 5.0  # of the wait at the end, for all; of a task; of all when interrupted

_Task = Callable[[Store], None]


class Publisher(AbstractContextManager["Publisher"]):
    """Publishes the runs of one experiment in a thread of its own: training never waits for it, nor fails with it.

    A run that MLflow has already, by its tag `lrbench.key`, is left alone. Where MLflow cannot be reached, what is to be published waits
    and is tried again now and then, at last at the end.
    """

    def __init__(self, out: Path, uri: str | None, experiment: str) -> None:
        self.failure: str | None = None
        self.page: str | None = None
        self.waiting = 0  # how much is still to be published
        self._out, self._uri, self._experiment = out, uri_of(out, uri), experiment
        self._queue: queue.Queue[_Task | None] = queue.Queue()
        self._hurry = False
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close("FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")

    def publish(self, result: TrialResult) -> None:
        """Publish a run, soon."""
        self._put(lambda store: store.add(result))

    def grow(self, spec: TrialSpec, points: Points) -> None:
        """Publish what is new of the curves of a run that is being trained; nothing where nothing is."""
        if points:
            self._put(lambda store: store.grow(spec, points))

    def fail(self, spec: TrialSpec, reason: str) -> None:
        """Publish that a run ended without a result."""
        self._put(lambda store: store.fail(spec, reason))

    def publish_best(self, final: TrialResult, best: Mapping[str, object]) -> None:
        """Publish what a scheduler's search chose, and the curves of a final run of it, on the scheduler's parent run."""
        self._put(lambda store: store.add_best(final, best))

    def publish_report(self, folder: Path) -> None:
        """Publish a sweep's report and pictures on each parent run that has been published to."""
        self._put(lambda store: store.add_report(folder))

    def close(self, status: str = "FINISHED", say: Callable[[str], None] = lambda text: None) -> None:
        """Wait until everything is published, the parent runs ended with `status`, or has failed to be: then `failure` says why.

        With another status than FINISHED, the rest is left to the next start, and this waits for HURRY_SECONDS at most.
        """
        self._hurry = status != "FINISHED"
        self._put(lambda store: store.end(status))
        self._queue.put(None)
        if self._hurry:
            self._thread.join(HURRY_SECONDS)
            return
        self._thread.join(SAY_AFTER_SECONDS)
        if self._thread.is_alive():
            say(f"publishing to MLflow what it lacks, {self.waiting} runs or so")
        before = -1
        while self._thread.is_alive() and self.waiting != before:
            before = self.waiting
            self._thread.join(PATIENCE_SECONDS)
        if self._thread.is_alive():
            self.failure = f"it took longer than {PATIENCE_SECONDS} s for a run"

    def _put(self, task: _Task) -> None:
        self.waiting += 1
        self._queue.put(task)

    def _work(self) -> None:
        """Do what is asked as it comes, and again what failed."""
        if hasattr(os, "setpriority"):
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)  # of this thread, on Linux: training comes first
        tasks: deque[_Task] = deque()
        try_at, store = 0.0, None
        for task in iter(self._queue.get, None):
            tasks.append(task)
            if time.monotonic() >= try_at:
                store = self._publish(tasks, store)
                try_at = 0.0 if store else time.monotonic() + RETRY_SECONDS
        self._publish(tasks, store)

    def _publish(self, tasks: "deque[_Task]", store: Store | None) -> Store | None:
        """Do tasks, in the store as it was left or in one opened anew. Return it; None where one failed, and `failure` says why."""
        try:
            store = store or Store(self._out, self._uri, self._experiment)
            self.page = views.page(store.experiment)
            while tasks:
                if self._hurry and len(tasks) > 1:
                    tasks.popleft()  # but the last, which ends what is there
                else:
                    tasks[0](store)
                    tasks.popleft()
                self.waiting = len(tasks) + self._queue.qsize()
        except Exception as error:  # whatever goes wrong with MLflow, training goes on and the results are on disk
            self.failure = (str(error) or type(error).__name__).splitlines()[0]
            return None
        self.failure = None
        return store
