"""Where runs are trained: in this process, or in resident worker processes. `submit` returns a future of a TrialResult."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from lrbench.results import TrialResult
from lrbench.spec import ConfigError, Machine, TrialSpec

MAX_DEATHS = 3  # of a worker at the same run


class RunError(Exception):
    """A run that ended without a result; the message is the reason."""


GoesOn = Callable[[int, float], bool]  # asked at the evaluations of a run, from 1, with its accuracy
Watch = Callable[[], GoesOn | None]  # called where a run is begun; None where nothing may stop it
Say = Callable[[str], None]
OnProgress = Callable[[TrialSpec, dict[str, Any]], None]  # with the fields of `loop.Progress`


@dataclass(frozen=True)
class Checkpoints:
    """Where the states of runs are kept, and the seconds between two of a run."""

    folder: Path
    seconds: float

    def of(self, spec: TrialSpec) -> Path:
        """Return the file of a run."""
        return self.folder / f"{spec.key()}.pt"


class Executor(Protocol):
    """Trains what is submitted, `runs_at_once` at a time, in the order of submission."""

    runs_at_once: int

    def examine(self, specs: Sequence[TrialSpec], say: Say) -> Machine:
        """Check that such runs can be trained, and see to their data; to be called first, once. Raises ConfigError."""

    def submit(self, spec: TrialSpec, watch: Watch = lambda: None) -> Future[TrialResult]:
        """Return a future of the result; it raises RunError where the run fails."""

    def close(self) -> None:
        """End what is still running."""


class Inline:
    """Trains in this process, at once."""

    runs_at_once = 1

    def __init__(self, checkpoints: Checkpoints, on_progress: OnProgress) -> None:
        self._checkpoints, self._on_progress = checkpoints, on_progress

    def examine(self, specs: Sequence[TrialSpec], say: Say) -> Machine:
        from lrbench.examination import examine

        return examine(specs, say)

    def submit(self, spec: TrialSpec, watch: Watch = lambda: None) -> Future[TrialResult]:
        """Train, and return a future that is done."""
        from lrbench.loop import train_one

        future: Future[TrialResult] = Future()
        try:
            checkpoint, seconds = self._checkpoints.of(spec), self._checkpoints.seconds
            future.set_result(train_one(spec, lambda progress: self._on_progress(spec, vars(progress)), watch(), checkpoint, seconds))
        except (ConfigError, RuntimeError, ArithmeticError) as error:
            future.set_exception(RunError(f"{type(error).__name__}: {error}"))
        return future

    def close(self) -> None:
        pass


class LocalWorkers:
    """Trains in worker processes, each fed by a thread of its own. One that dies is replaced, and its run is tried again.

    This process itself never imports torch: the first worker answers what must be known before the others start.
    """

    def __init__(
        self, workers: int | Literal["auto"], logs: Path, checkpoints: Checkpoints, on_progress: OnProgress, silence_seconds: float = 300
    ) -> None:
        self.runs_at_once = 1
        self._wanted, self._logs, self._on_progress, self._closing = workers, logs, on_progress, False
        self._jobs: queue.Queue[tuple[TrialSpec, Watch, Future[TrialResult]] | None] = queue.Queue()
        self._threads: list[threading.Thread] = []
        logs.mkdir(parents=True, exist_ok=True)
        self._checkpoints, self._silence_seconds = checkpoints, silence_seconds
        self._workers = [_Worker(logs / "worker-0.log", silence_seconds)]

    def examine(self, specs: Sequence[TrialSpec], say: Say) -> Machine:
        """Let the first worker examine; then start the others, as many as suit the machine."""
        machine = self._examine(self._workers[0], specs, say)
        self.runs_at_once = machine.runs_at_once(specs[0].device) if self._wanted == "auto" else self._wanted
        for number in range(1, self.runs_at_once):
            gpu = str(number % machine.gpus) if machine.device == "cuda:0" else None
            self._workers.append(_Worker(self._logs / f"worker-{number}.log", self._silence_seconds, gpu))
        for worker in self._workers:
            self._threads.append(threading.Thread(target=self._feed, args=(worker,), daemon=True))
            self._threads[-1].start()
        return machine

    def _examine(self, worker: "_Worker", specs: Sequence[TrialSpec], say: Say) -> Machine:
        """Let a worker examine, and another one where it dies at that."""
        said: set[str] = set()

        def say_once(text: str) -> None:
            if text not in said:
                say(text)
            said.add(text)

        for _ in range(MAX_DEATHS):
            if machine := worker.examine(specs, say_once):
                return machine
            cause = worker.end()
            worker.close()
            worker.start()
        log = worker.log.read_text()[-2000:]
        raise RunError(f"the first worker process died {MAX_DEATHS} times, at last by {cause}; see {worker.log}:\n{log}")

    def submit(self, spec: TrialSpec, watch: Watch = lambda: None) -> Future[TrialResult]:
        future: Future[TrialResult] = Future()
        self._jobs.put((spec, watch, future))
        return future

    def close(self) -> None:
        """Kill the workers; what they were at is dropped, or goes on from its checkpoint at the next start."""
        self._closing = True
        for worker in self._workers:
            worker.kill()
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        for worker in self._workers:
            worker.close()

    def _feed(self, worker: "_Worker") -> None:
        while (job := self._jobs.get()) is not None:
            spec, watch, future = job
            try:
                future.set_result(self._train(worker, spec, watch))
            except RunError as failure:
                future.set_exception(failure)

    def _train(self, worker: "_Worker", spec: TrialSpec, watch: Watch) -> TrialResult:
        for _ in range(MAX_DEATHS):
            if self._closing:
                raise RunError("the sweep was ended")
            answer = worker.train(spec, self._checkpoints, self._on_progress, watch())
            if answer is not None:
                return answer
            cause = worker.end()
            worker.close()
            if not self._closing:
                worker.start()
        raise RunError(f"its worker process died {MAX_DEATHS} times, at last by {cause}; see {worker.log}")


class _Worker:
    """A process of `lrbench.worker`: a line of JSON in for each request, lines of JSON out until it is answered."""

    def __init__(self, log: Path, silence_seconds: float, gpu: str | None = None) -> None:
        self.log, self._gpu, self._silence_seconds = log, gpu, silence_seconds
        self._was_silent = False
        self.start()

    def start(self) -> None:
        """Start the process, anew where it has died."""
        environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": self._gpu} if self._gpu else {})}
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "lrbench.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the coordinator
                env=environment,
            )

    def examine(self, specs: Sequence[TrialSpec], say: Say) -> Machine | None:
        """Return what the process finds, None where it dies. Raises ConfigError for the user's mistakes, RunError where it breaks."""
        for message in self._answers({"examine": [_plain(spec) for spec in specs]}):
            if "say" in message:
                say(message["say"])
            elif "config_error" in message:
                raise ConfigError(message["config_error"])
            elif "failure" in message:
                raise RunError(f"{message['failure']}; see {self.log}")
            elif "machine" in message:
                return Machine.model_validate(message["machine"])
        return None

    def train(self, spec: TrialSpec, checkpoints: Checkpoints, on_progress: OnProgress, goes_on: GoesOn | None) -> TrialResult | None:
        """Return the result of a run, or None where the process dies at it. Raises RunError where the run fails."""
        kept = {"checkpoint": str(checkpoints.of(spec)), "checkpoint_seconds": checkpoints.seconds}
        request = {"train": _plain(spec), **kept, "watched": goes_on is not None}
        for message in self._answers(request):
            if "progress" in message:
                on_progress(spec, message["progress"])
            elif "evaluated" in message and goes_on is not None:
                self._write({"goes_on": goes_on(*message["evaluated"])})
            elif "failure" in message:
                raise RunError(message["failure"])
            elif "result" in message:
                return TrialResult.model_validate(message["result"])
        return None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> str:
        """Return what ended the process, which is killed where it has only stopped to answer."""
        self.kill()
        code = self._process.returncode
        if self._was_silent:
            return f"{self._silence_seconds:g} s without a sign of life"
        if code == -signal.SIGKILL:
            return "SIGKILL, which is how Linux ends what it has no memory for"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """Close the pipes of a process that has ended, when nobody reads them any more."""
        assert self._process.stdin and self._process.stdout
        with suppress(OSError):  # what it was asked last may still stand in the buffer
            self._process.stdin.close()
        self._process.stdout.close()

    def _answers(self, request: dict[str, object]) -> Iterator[dict[str, Any]]:
        """Yield what the process answers; nothing more when it has died, or was killed for its silence."""
        assert self._process.stdout
        self._was_silent = False
        self._write(request)
        lines = iter(self._process.stdout)
        while True:
            alarm = threading.Timer(self._silence_seconds, self._kill_silent)
            alarm.daemon = True  # the program may end before it
            if "train" in request:  # a download may be silent for longer
                alarm.start()
            line = next(lines, None)
            alarm.cancel()
            if line is None:
                return
            yield json.loads(line)

    def _kill_silent(self) -> None:
        self._was_silent = True
        self._process.kill()

    def _write(self, message: dict[str, object]) -> None:
        """Write a line to the process; where it has died, reading will find that."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()


def _plain(spec: TrialSpec) -> dict[str, Any]:
    return spec.model_dump(by_alias=True)
