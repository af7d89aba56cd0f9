from pathlib import Path

import pytest

from lrbench.tracking.mlflow_client import create_database, mlflow_environment, tracking_uri


def test_the_store_is_absolute_whatever_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking_uri(Path("runs"), None) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert tracking_uri(Path("runs"), "http://host:5000") == "http://host:5000"


def test_the_environment_switches_telemetry_off_and_keeps_limits_of_the_user() -> None:
    given = {"HOME": "/home/a", "MLFLOW_DISABLE_TELEMETRY": "false", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
    assert mlflow_environment(given) == {
        "HOME": "/home/a",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    }
    assert given["MLFLOW_DISABLE_TELEMETRY"] == "false"


def test_only_a_sqlite_store_that_is_missing_is_created(tmp_path: Path) -> None:
    create_database("http://127.0.0.1:9")
    store = tmp_path / "mlflow.db"
    store.write_text("as it was")
    create_database(f"sqlite:///{store}")
    assert store.read_text() == "as it was"
    assert list(tmp_path.iterdir()) == [store]
