"""The coordinator's end of a worker process.

A request is one line of JSON. The process answers with lines of JSON, and the last one has the
result or the failure.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from lrbench.executors.executor import OnProgress, RunError
from lrbench.results.result import Progress, ShouldContinue, TrialResult
from lrbench.spec import ConfigError, DeviceInfo, TrialSpec
from lrbench.text import Log

COMMAND = (sys.executable, "-m", "lrbench.executors.worker")
EXIT_SECONDS = 10.0  # a process that closed its output has this long to end before it is killed


class WorkerProcess:
    """A process of `lrbench.executors.worker`.

    It sees only the GPU with the number `gpu`, or all GPUs if `gpu` is None.
    """

    def __init__(self, log: Path, data_root: Path, silence_seconds: float, gpu: int | None = None) -> None:
        self.log, self.silence_seconds = log, silence_seconds
        self._data_root, self._gpu = data_root, gpu
        self._start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def preflight(self, specs: Sequence[TrialSpec], log: Log) -> DeviceInfo | None:
        """Return the device that the process finds, None if the process dies.

        Raises ConfigError if the specs cannot be trained, RunError if the preflight itself fails.
        """
        request = {"preflight": [_as_json(spec) for spec in specs]}
        for message in self._messages(request, silence_seconds=None):  # a download may be silent for long
            if "log" in message:
                log(message["log"])
            elif "config_error" in message:
                raise ConfigError(message["config_error"])
            elif "failure" in message:
                raise RunError(f"{message['failure']}; see {self.log}")
            elif "device" in message:
                return DeviceInfo.model_validate(message["device"])
        return None

    def train(
        self,
        spec: TrialSpec,
        checkpoint: Path,
        checkpoint_seconds: float,
        on_progress: OnProgress,
        should_continue: ShouldContinue | None,
        *,
        compilation_pays: bool = False,
    ) -> TrialResult | None:
        """Return the result of a run, None if the process dies. Raises RunError if it fails."""
        request = {
            "train": _as_json(spec),
            "checkpoint": str(checkpoint),
            "checkpoint_seconds": checkpoint_seconds,
            "monitored": should_continue is not None,
            "compilation_pays": compilation_pays,
        }
        for message in self._messages(request, self.silence_seconds):
            if "progress" in message:
                on_progress(spec, Progress.from_json(message["progress"]))
            elif "evaluated" in message and should_continue is not None:
                self._write({"continue": should_continue(*message["evaluated"])})
            elif "failure" in message:
                raise RunError(message["failure"])
            elif "result" in message:
                return TrialResult.model_validate(message["result"])
        return None

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()

    def restart(self) -> str:
        """Start the process again, and return the cause of its end."""
        cause = self._cause_of_end()
        self.close()
        self._start()
        return cause

    def close(self) -> None:
        """Kill the process and close its pipes."""
        assert self._process.stdin
        self.kill()
        with suppress(OSError):  # the last request may still be in the buffer
            self._process.stdin.close()

    def _cause_of_end(self) -> str:
        """Return the cause of the end. Kill a process that is alive but does not answer."""
        if self._was_silent:
            self.kill()
            return f"it was silent for {self.silence_seconds:g} s, longer than executor.silence_seconds"
        try:
            code = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return "it closed its output"
        if code == -signal.SIGKILL:
            return "SIGKILL, often for lack of memory. Use fewer executor.workers"
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _start(self) -> None:
        environment = dict(os.environ)
        if self._gpu is not None:
            visible = environment.get("CUDA_VISIBLE_DEVICES")  # numbers or UUIDs; torch counts within them
            environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[self._gpu] if visible else str(self._gpu)
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [*COMMAND, str(self._data_root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for the coordinator
                env=environment,
            )
        assert self._process.stdout
        self._was_silent = False
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(self._process.stdout, self._lines), daemon=True).start()

    def _messages(self, request: dict[str, Any], silence_seconds: float | None) -> Iterator[dict[str, Any]]:
        """Yield the messages of the process until it dies. Kill it if it is silent for too long."""
        self._write(request)
        while True:
            try:
                line = self._lines.get(timeout=silence_seconds)
            except queue.Empty:
                self._was_silent = True
                self.kill()
                return
            if line is None:
                return
            yield json.loads(line)

    def _write(self, message: dict[str, Any]) -> None:
        """Write a line to the process. A dead process is noticed when its output is read."""
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()


def _read(pipe: IO[str], lines: "queue.SimpleQueue[str | None]") -> None:
    """Queue the lines of a process, then None.

    This thread alone closes the pipe, because a child of a killed worker may keep it open.
    """
    with pipe:
        for line in pipe:
            if line.endswith("\n"):  # a killed process may leave half of its last line
                lines.put(line)
    lines.put(None)


def _as_json(spec: TrialSpec) -> dict[str, Any]:
    return spec.model_dump(by_alias=True)
