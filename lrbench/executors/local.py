"""Trains runs in worker processes of this machine, which keep data and code in memory."""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import PositiveFloat, PositiveInt

from lrbench.executors.executor import MonitorFactory, OnProgress, RunError, Workspace
from lrbench.executors.worker_process import WorkerProcess
from lrbench.results.result import TrialResult
from lrbench.spec import DeviceInfo, PlainData, TrialSpec, validated
from lrbench.text import Log

MAX_DEATHS = 3  # of workers during the same run
LOG_CHARACTERS = 2000  # of a worker's log that an error message quotes


class LocalSettings(PlainData):
    """The keys of conf/executor/local.yaml.

    A worker that is silent for `silence_seconds` during a run counts as dead.
    """

    workers: PositiveInt | Literal["auto"]
    checkpoint_seconds: PositiveFloat
    silence_seconds: PositiveFloat


@dataclass(frozen=True)
class _Job:
    """A submitted run."""

    spec: TrialSpec
    on_progress: OnProgress
    monitor: MonitorFactory
    future: Future[TrialResult] = field(default_factory=Future)


class LocalWorkers:
    """Trains in worker processes, each fed by its own thread.

    A worker that dies is replaced, and its run is retried. This process never imports torch: the
    first worker does the preflight, and its answer decides how many others start.
    """

    def __init__(self, workspace: Workspace, **settings: Any) -> None:
        self._workspace, self._settings = workspace, validated(LocalSettings, settings, "executor")
        self._closing = False
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers: list[WorkerProcess] = []

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers."""
        return [worker.pid for worker in self._workers]

    def concurrency(self, device: DeviceInfo, wanted: str) -> int:
        """Return the key `workers`; for `auto`, the number of GPUs or CPU cores of the device."""
        return device.runs_at_once(wanted) if self._settings.workers == "auto" else self._settings.workers

    def preflight(self, specs: Sequence[TrialSpec], log: Log) -> DeviceInfo:
        """Let the first worker do the preflight, then start the others."""
        self._workspace.logs.mkdir(parents=True, exist_ok=True)
        self._workers.append(self._worker(0))
        device = self._preflight(self._workers[0], specs, log)
        wanted = specs[0].device
        for number in range(1, self.concurrency(device, wanted)):
            self._workers.append(self._worker(number, device.gpu_of_worker(number, wanted)))
        for worker in self._workers:
            self._threads.append(threading.Thread(target=self._feed, args=(worker,), daemon=True))
            self._threads[-1].start()
        return device

    def submit(self, spec: TrialSpec, on_progress: OnProgress, monitor: MonitorFactory) -> Future[TrialResult]:
        job = _Job(spec, on_progress, monitor)
        self._jobs.put(job)
        return job.future

    def close(self) -> None:
        """Kill the workers. The next start resumes their runs from the checkpoints."""
        self._closing = True
        for worker in self._workers:
            worker.kill()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.close()  # also a process that a thread has just restarted

    def _worker(self, number: int, gpu: int | None = None) -> WorkerProcess:
        log = self._workspace.logs / f"worker-{number}.log"
        return WorkerProcess(log, self._workspace.data_root, self._settings.silence_seconds, gpu)

    def _preflight(self, worker: WorkerProcess, specs: Sequence[TrialSpec], log: Log) -> DeviceInfo:
        """Let a worker do the preflight, and start another one if it dies."""
        logged: set[str] = set()

        def log_once(text: str) -> None:
            if text not in logged:
                log(text)
            logged.add(text)

        for _ in range(MAX_DEATHS):
            if device := worker.preflight(specs, log_once):
                return device
            cause = worker.restart()
        log_end = worker.log.read_text(errors="replace")[-LOG_CHARACTERS:]
        raise RunError(
            f"the first worker process died {MAX_DEATHS} times; last cause: {cause}; see {worker.log}:\n{log_end}"
        )

    def _feed(self, worker: WorkerProcess) -> None:
        """Train jobs in a worker until there are no more."""
        while (job := self._jobs.get()) is not None:
            try:
                job.future.set_result(self._train(worker, job))
            except RunError as failure:
                job.future.set_exception(failure)
            except Exception as error:  # a callback failed; the caller of the future must see it
                worker.kill()  # it may still be training
                worker.restart()
                job.future.set_exception(error)

    def _train(self, worker: WorkerProcess, job: _Job) -> TrialResult:
        deaths = 0
        while not self._closing:
            result = worker.train(
                job.spec,
                checkpoint=self._workspace.checkpoint(job.spec),
                checkpoint_seconds=self._settings.checkpoint_seconds,
                on_progress=job.on_progress,
                should_continue=job.monitor(),
                compilation_pays=self._workspace.compilation_pays(len(self._workers)),
            )
            if result is not None:
                return result
            if not self._closing:
                cause = worker.restart()
                deaths += 1
            if deaths == MAX_DEATHS:
                raise RunError(f"its worker process died {MAX_DEATHS} times; last cause: {cause}; see {worker.log}")
        raise RunError("the sweep ended")
