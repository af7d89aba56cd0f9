import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lrbench import ui

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def test_without_a_store_it_says_what_makes_one(command: Command) -> None:
    done = command("ui", "--out", "elsewhere")
    assert done.returncode == 2
    assert "elsewhere/mlflow.db: nothing has been published there yet; scripts/sweep" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(command: Command, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").touch()
    with socket.socket() as other:
        other.bind((ui.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        done = command("ui", str(port))
    assert done.returncode == 2
    assert f"port {port}: something listens there already" in done.stderr


def test_without_a_port_it_takes_the_next_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind((ui.HOST, 0))
        other.listen()
        taken = other.getsockname()[1]
        monkeypatch.setattr(ui, "PORT", taken)
        assert taken < ui._free_port(None) < taken + 100


def test_hint() -> None:
    page = "/#/experiments/1/runs"
    assert ui.hint(Path("runs"), None, page).endswith("-m lrbench.ui   (then open http://127.0.0.1:5000/#/experiments/1/runs)")
    assert "-m lrbench.ui --out 'my runs' " in ui.hint(Path("my runs"), None, None)
    assert ui.hint(Path("runs"), "http://host:5000/", page) == "open http://host:5000/#/experiments/1/runs"
    assert ui.hint(Path("runs"), "postgresql://host/runs", page) == "mlflow server --backend-store-uri postgresql://host/runs"
