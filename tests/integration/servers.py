"""A real server of MLflow on this machine, which a test can kill and start again."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path

from lrbench.tracking.mlflow_client import mlflow_environment


class Server(AbstractContextManager["Server"]):
    """MLflow's server with its store, a copy of `empty_store`, in a folder.

    It keeps its port when it starts again.
    """

    def __init__(self, folder: Path, empty_store: Path) -> None:
        self._folder = folder
        shutil.copy(empty_store, folder / "server.db")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(self._port),
            "--workers",
            "1",
        ]
        stores = [
            "--backend-store-uri",
            f"sqlite:///{self._folder}/server.db",
            "--artifacts-destination",
            str(self._folder / "artifacts"),
        ]
        environment = {**mlflow_environment(os.environ), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, *stores], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill the server and the processes that it started."""
        os.killpg(self._process.pid, 9)
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False
