"""A sweep that publishes nothing, by choice or because MLflow is not installed."""

from pathlib import Path

import pytest

from tests.conftest import SMALL, SWEEP, Command


@pytest.mark.parametrize("installed", [True, False])
def test_a_sweep_without_mlflow_can_be_published_later(
    python_command: Command, tmp_path: Path, installed: bool
) -> None:
    hidden = tmp_path / "mlflow.py"
    if not installed:
        hidden.write_text("raise ModuleNotFoundError(\"No module named 'mlflow'\")\n")
    overrides = ["executor=inline", *(["tracking=none"] if installed else [])]
    done = python_command("sweep", *SMALL, *SWEEP, *overrides)
    assert done.returncode == 0, done.stderr
    said = "nowhere, because of tracking=none" if installed else "MLflow lacks some runs (No module named 'mlflow')"
    assert done.stdout.count(said) == 1
    (folder,) = (path.parent for path in tmp_path.glob("runs/*/report.md"))
    assert f"-m lrbench.sync {folder.relative_to(tmp_path)}" in done.stdout
    assert not (tmp_path / "runs" / "mlflow.db").exists()
    hidden.unlink(missing_ok=True)
    published = python_command("sync", str(folder))
    assert published.stdout.startswith("published; "), published.stderr
    assert (tmp_path / "runs" / "mlflow.db").exists()
