"""A sweep that publishes nothing, by choice or because MLflow is not installed."""

from pathlib import Path

from tests.conftest import SMALL, SWEEP, Command


def test_a_sweep_with_tracking_none_can_be_published_later(command: Command, tmp_path: Path) -> None:
    done = command("sweep", *SMALL, *SWEEP, "executor=inline", "tracking=none")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nowhere, because of tracking=none") == 1
    assert "-m lrbench.sync runs/smoke" in done.stdout
    store = tmp_path / "runs" / "mlflow.db"
    assert not store.exists()
    published = command("sync", "runs/smoke")
    assert published.stdout.startswith("published; "), published.stderr
    assert store.exists()


def test_a_sweep_without_mlflow_says_how_to_publish_it(python_command: Command, tmp_path: Path) -> None:
    (tmp_path / "mlflow.py").write_text("raise ModuleNotFoundError(\"No module named 'mlflow'\")\n")
    done = python_command("sweep", *SMALL, *SWEEP, "executor=inline")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("MLflow lacks some runs (No module named 'mlflow'); the results are safe.") == 1
    assert "-m lrbench.sync runs/smoke" in done.stdout
    assert (tmp_path / "runs" / "smoke" / "report.md").exists()
