import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lrbench import loop, tracking
from lrbench.config import TrialSpec

Spec = Callable[..., TrialSpec]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real tracking server on loopback, as `mlflow server` starts it."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log, subprocess.Popen([*command, *stores], stdout=log, stderr=log, env=environment) as process:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while not _healthy(url):
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.5)
        yield url
        process.terminate()


@pytest.mark.xdist_group("server")
def test_publishes_to_a_server_once(server: str, spec: Spec, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    result = loop.train_one(spec("scheduler=cosine"))
    for _ in range(2):
        publisher = tracking.Publisher(tmp_path, server, "served")
        publisher.publish(result)
        publisher.close()
        assert publisher.failure is None
    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name("served")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    rates = [point.value for point in client.get_metric_history(run.info.run_id, "lr")]
    assert rates == result.curves["lr"].values
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"config.yaml", "lr.png"}


def test_a_server_that_is_down_costs_seconds_and_says_so(spec: Spec, tmp_path: Path) -> None:
    started = time.monotonic()
    publisher = tracking.Publisher(tmp_path, "http://127.0.0.1:9", "nowhere")
    publisher.publish(loop.train_one(spec()))
    publisher.close()
    assert publisher.failure is not None
    assert "127.0.0.1" in publisher.failure
    assert time.monotonic() - started < 60


def test_store_is_absolute_whatever_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert tracking.store_uri(Path("runs"), None) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert tracking.store_uri(Path("runs"), "http://host:5000") == "http://host:5000"


def test_telemetry_is_off() -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
