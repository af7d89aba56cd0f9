"""Where runs are trained: in this process, or in resident worker processes. `submit` returns a future of a TrialResult."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from lrbench.config import ConfigError, TrialSpec
from lrbench.results import TrialResult

MAX_DEATHS = 2  # of a worker at the same run


class RunFailed(Exception):
    """A run that ended without a result; the message is the reason."""


OnProgress = Callable[[TrialSpec, dict[str, float | None]], None]


class Executor(Protocol):
    """Trains what is submitted, `runs_at_once` at a time, in the order of submission."""

    runs_at_once: int

    def submit(self, spec: TrialSpec) -> Future[TrialResult]:
        """Return a future of the result; it raises RunFailed where the run fails."""

    def close(self) -> None:
        """End what is still running."""


class Inline:
    """Trains in this process, at once."""

    runs_at_once = 1

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress

    def submit(self, spec: TrialSpec) -> Future[TrialResult]:
        from lrbench.loop import train_one

        future: Future[TrialResult] = Future()
        try:
            future.set_result(train_one(spec, lambda progress: self._on_progress(spec, vars(progress))))
        except ConfigError as error:
            future.set_exception(RunFailed(str(error)))
        return future

    def close(self) -> None:
        pass


class LocalWorkers:
    """Trains in worker processes, each fed by a thread of its own. One that dies is replaced, and its run is tried again."""

    def __init__(self, workers: int, logs: Path, on_progress: OnProgress) -> None:
        self.runs_at_once = workers
        self._on_progress, self._closing = on_progress, False
        self._jobs: queue.Queue[tuple[TrialSpec, Future[TrialResult]]] = queue.Queue()
        logs.mkdir(parents=True, exist_ok=True)
        self._workers = [_Worker(logs / f"worker-{number}.log") for number in range(workers)]
        for worker in self._workers:
            threading.Thread(target=self._feed, args=(worker,), daemon=True).start()

    def submit(self, spec: TrialSpec) -> Future[TrialResult]:
        future: Future[TrialResult] = Future()
        self._jobs.put((spec, future))
        return future

    def close(self) -> None:
        self._closing = True
        for worker in self._workers:
            worker.kill()

    def _feed(self, worker: "_Worker") -> None:
        while True:
            spec, future = self._jobs.get()
            try:
                future.set_result(self._train(worker, spec))
            except RunFailed as failure:
                future.set_exception(failure)

    def _train(self, worker: "_Worker", spec: TrialSpec) -> TrialResult:
        for _ in range(MAX_DEATHS):
            answer = worker.ask(spec, self._on_progress)
            if answer is not None:
                return answer
            if self._closing:
                break
            worker.start()
        raise RunFailed(f"its worker process died {MAX_DEATHS} times; see {worker.log}")


class _Worker:
    """A process of `lrbench.worker`: a line of JSON in for a run, lines of JSON out for its progress and its end."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.start()

    def start(self) -> None:
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lrbench.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the coordinator
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def ask(self, spec: TrialSpec, on_progress: OnProgress) -> TrialResult | None:
        """Return the result of a run, or None where the process dies at it. Raises RunFailed where the run fails."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(spec.model_dump_json(by_alias=True) + "\n")
            self._process.stdin.flush()
        except OSError:
            return None
        for line in self._process.stdout:
            message = json.loads(line)
            if "progress" in message:
                on_progress(spec, message["progress"])
            elif "failure" in message:
                raise RunFailed(message["failure"])
            else:
                return TrialResult.model_validate_json(line)
        return None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
