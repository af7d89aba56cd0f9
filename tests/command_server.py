"""Runs lrbench's commands in forks of one process that has imported everything, so that a test does
not wait for imports.

A fork runs the module as `python -m` does, with its own working directory, environment, output and
exit code.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra import initialize_config_module

from lrbench.config.compose import load_config
from lrbench.config.sweep_files import register_sweeps

ROOT = Path(__file__).parents[1]
MODULES = (
    "lrbench.curves",
    "lrbench.report",
    "lrbench.schedulers",
    "lrbench.sweep",
    "lrbench.sync",
    "lrbench.train",
    "lrbench.ui",
    "lrbench.orchestration.dry_run",
    "lrbench.reporting.plots",
    "lrbench.orchestration.verify",
    "lrbench.tracking.mlflow_store",
    "lrbench.training.train",
    "pandas",
    "scikit_posthocs",
)


class CommandServer:
    """The test's end of the process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.command_server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that `select` sees every answer that was not read yet
        )

    def run(
        self, name: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], seconds: float = 280
    ) -> "subprocess.CompletedProcess[str]":
        """Run `python -m lrbench.<name>` in `folder`. Raises TimeoutExpired."""
        with tempfile.TemporaryDirectory() as outputs:
            files = [str(Path(outputs) / stream) for stream in ("stdout", "stderr")]
            request = {"module": f"lrbench.{name}", "arguments": list(arguments), "folder": str(folder), "files": files}
            pid = self._ask({**request, "environment": {**os.environ, **environment}}, 60)["pid"]
            try:
                code = self._answer(seconds)["code"]
            except TimeoutError as error:
                os.killpg(pid, signal.SIGKILL)
                self._answer(60)
                raise subprocess.TimeoutExpired(name, seconds) from error
            stdout, stderr = (Path(file).read_text() for file in files)
        return subprocess.CompletedProcess([name, *arguments], code, stdout, stderr)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def _ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        return self._answer(seconds)

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise TimeoutError
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def _import_everything() -> None:
    for module in MODULES:
        importlib.import_module(module)
    register_sweeps()
    with initialize_config_module("lrbench.conf", version_base="1.3"):
        load_config("sweep", [])  # Hydra looks for its plugins at first use
    gc.freeze()  # a fork that collects garbage copies the memory of the server


def _serve() -> dict[str, Any] | None:
    """Fork for each request.

    Returns the request in the fork, None in the server when its input ends.
    """
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if pid == 0:
            return request
        print(json.dumps({"pid": pid}), flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)
    return None


def _become(request: Mapping[str, Any]) -> None:
    """Run the module of a request as the main program of this process."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, name in enumerate([os.devnull, *request["files"]]):
        file = os.open(name, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    sys.argv = [request["module"], *request["arguments"]]
    sys.path[0] = request["folder"]
    sys.modules.pop(request["module"], None)
    code: object = 0
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:  # Python would print it and exit with 1
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.current_thread():
            thread.join()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python would also clear all modules, which takes longer than most commands.
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        _import_everything()
        if (request := _serve()) is not None:
            _become(request)
