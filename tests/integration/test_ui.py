import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lrbench.spec import ConfigError
from lrbench.tracking import server
from lrbench.tracking.browser import HOST
from lrbench.tracking.mlflow_client import TELEMETRY_OFF
from lrbench.tracking.server import become_server, free_port

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_without_a_store_it_names_the_commands_that_make_one(command: Command) -> None:
    done = command("ui", "--out", "elsewhere")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: --out=elsewhere: must hold published runs; elsewhere/mlflow.db does not exist"
    )
    assert "scripts/sweep or python -m lrbench.train" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").touch()
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        done = command("ui", str(port))
    assert done.returncode == 2
    assert f"error: port={port}: must be a free port" in done.stderr


def test_without_a_port_it_takes_the_next_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(server, "PORT", taken)
        assert taken < free_port(None) < taken + 100


def test_a_port_that_is_no_number_of_a_port() -> None:
    for wanted in (-1, 65536):
        with pytest.raises(ConfigError, match=f"^port={wanted}: must be a free port from 1 to 65535"):
            free_port(wanted)


def test_the_server_sends_no_telemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    monkeypatch.setenv("HOME", "/home/a")
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    become_server("sqlite:////runs/mlflow.db", 5001)
    ((program, command, environment),) = calls
    assert program == sys.executable
    assert command[1:4] == ["-m", "mlflow", "server"]
    assert command[command.index("--port") + 1] == "5001"
    assert command[command.index("--host") + 1] == HOST
    assert {
        **TELEMETRY_OFF,
        "HOME": "/home/a",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }.items() <= environment.items()
    assert "DO_NOT_TRACK" not in os.environ
