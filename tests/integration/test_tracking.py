"""The tracking of runs, with a real server of MLflow and with servers that fail."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lrbench.config.compose import load_config, parse_spec
from lrbench.results.result import Points, TrialResult
from lrbench.tracking import mlflow_views
from lrbench.tracking import publisher as publisher_module
from lrbench.tracking.mlflow_client import open_client
from lrbench.tracking.mlflow_store import MlflowStore
from lrbench.tracking.publisher import EARLY_CLOSE_SECONDS, Publisher
from lrbench.tracking.run_fields import result_points
from lrbench.training.train import train_one
from tests.conftest import SMALL
from tests.integration.servers import Server

if TYPE_CHECKING:
    from mlflow.entities import Run

OpenStore = Callable[[], MlflowStore]

NOWHERE = "http://127.0.0.1:9"  # no server listens there


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[str]:
    """A real tracking server."""
    with Server(tmp_path_factory.mktemp("server"), empty_store) as started:
        yield started.url


@pytest.fixture
def store(server: str, tmp_path: Path, request: pytest.FixtureRequest) -> OpenStore:
    """Opens the test's own experiment on the server, as a newly started process does."""
    return lambda: MlflowStore(tmp_path, server, request.node.name)


@pytest.fixture(scope="module")
def trained(hydra: None) -> TrialResult:
    """The final run of the cosine schedule, outside any sweep."""
    return train_one(parse_spec(load_config("config", [*SMALL, "scheduler=cosine"])))


def _changed(result: TrialResult, state: str = "finished", **changes: object) -> TrialResult:
    return result.model_copy(update={"state": state, "spec": result.spec.model_copy(update=changes)})


def _runs(store: MlflowStore, search: str = "") -> "list[Run]":
    return list(store.runs(search))


def _history(store: MlflowStore, run: "Run") -> Points:
    return {
        name: [
            (point.step, point.value, point.timestamp)
            for point in store.client.get_metric_history(run.info.run_id, name)
        ]
        for name in run.data.metrics
    }


def _first_points(result: TrialResult, points: int) -> Points:
    return {name: metric[:points] for name, metric in result_points(result).items() if name != "test/accuracy"}


def test_publishes_to_a_server_once(server: str, trained: TrialResult, tmp_path: Path) -> None:
    for _ in range(2):
        with Publisher(tmp_path, server, "served") as publisher:
            publisher.publish(trained)
        assert publisher.failure is None
    client = open_client(server)
    experiment = client.get_experiment_by_name("served")
    assert experiment is not None
    assert publisher.page == mlflow_views.page(experiment.experiment_id)
    (run,) = client.search_runs([experiment.experiment_id])
    rates = [point.value for point in client.get_metric_history(run.info.run_id, "lr")]
    assert rates == trained.curves["lr"].values
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"config.yaml", "lr.png"}


def test_a_long_run_is_published_while_it_trains(store: OpenStore, trained: TrialResult) -> None:
    opened = store()
    for length in (0, 1, 3):
        points = {name: metric[length:] for name, metric in _first_points(trained, 5).items()}
        opened.add_points(trained.spec, points if length else _first_points(trained, 1))
        (run,) = _runs(opened, 'tags.state = "running" and attributes.status = "RUNNING"')
    assert _history(opened, run) == _first_points(trained, 5)
    opened.add_result(trained)
    (run,) = _runs(opened)
    assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "finished")
    assert _history(opened, run) == result_points(trained)
    assert run.info.start_time == trained.curves["lr"].times[0]


def test_a_run_whose_worker_died_starts_again(store: OpenStore, trained: TrialResult) -> None:
    opened, later = store(), 7
    opened.add_points(trained.spec, _first_points(trained, 5))
    again = {
        name: [(step, value, time + later) for step, value, time in metric]
        for name, metric in _first_points(trained, 2).items()
    }
    opened.add_points(trained.spec, again)
    (run,) = _runs(opened)
    assert _history(opened, run) == again


def test_unfinished_runs_of_a_killed_process_are_replaced(store: OpenStore, trained: TrialResult) -> None:
    """A sweep's run at once, because no other process writes to its experiment. A run of
    `lrbench.train` when it is trained again, because another process may still train it.
    """
    searched = _changed(trained, trial=3, phase="search")
    killed = store()
    for result in (trained, searched):
        killed.add_points(result.spec, _first_points(result, 2))
    again = store()
    assert [run.data.tags["phase"] for run in _runs(again, 'tags.phase != "sweep"')] == ["final"]
    for result in (trained, searched):
        again.add_result(result)
    runs = _runs(again, 'tags.phase != "sweep"')
    assert sorted(run.data.tags["phase"] for run in runs) == ["final", "search"]
    assert all(_history(again, run) == result_points(trained) for run in runs)


def test_an_interrupted_run_has_that_state(store: OpenStore, trained: TrialResult) -> None:
    searched = _changed(trained, trial=3, phase="search")
    opened = store()
    opened.add_points(searched.spec, _first_points(searched, 2))
    opened.close("KILLED")
    assert {run.info.status for run in _runs(opened)} == {"KILLED"}
    assert [run.data.tags["trial"] for run in _runs(opened, 'tags.state = "interrupted"')] == ["3"]
    assert not _runs(store(), 'tags.state = "interrupted"')


def test_a_failed_run_has_that_state_until_it_has_a_result(store: OpenStore, trained: TrialResult) -> None:
    searched = _changed(trained, trial=3, phase="search")
    opened = store()
    opened.add_failure(searched.spec, "RuntimeError: no memory")
    (run,) = _runs(opened, 'tags.state = "failed"')
    assert (run.info.status, run.data.tags["reason"]) == ("FAILED", "RuntimeError: no memory")
    again = store()
    again.add_result(searched)
    (run,) = _runs(again, 'tags.trial = "3"')
    assert run.info.status == "FINISHED"


def test_runs_are_found_by_scheduler_phase_state_and_trial(store: OpenStore, trained: TrialResult) -> None:
    opened = store()
    cyclic = trained.spec.scheduler.model_copy(update={"name": "cyclic"})
    opened.add_result(trained)
    opened.add_result(_changed(trained, trial=3, phase="search"))
    opened.add_result(_changed(trained, "diverged", trial=4, phase="search", scheduler=cyclic))
    opened.add_result(_changed(trained, "pruned", trial=5, phase="search", scheduler=cyclic))
    found = {
        search: {run.data.tags["mlflow.runName"] for run in _runs(opened, f'{search} and tags.phase != "sweep"')}
        for search in (
            'tags.scheduler = "cyclic"',
            'tags.phase = "final"',
            'tags.state = "diverged"',
            'tags.trial = "3"',
        )
    }
    assert found == {
        'tags.scheduler = "cyclic"': {"cyclic search trial 4 seed 0", "cyclic search trial 5 seed 0"},
        'tags.phase = "final"': {"cosine final seed 0"},
        'tags.state = "diverged"': {"cyclic search trial 4 seed 0"},
        'tags.trial = "3"': {"cosine search trial 3 seed 0"},
    }


def test_a_parent_has_the_best_and_the_report_once(store: OpenStore, trained: TrialResult, tmp_path: Path) -> None:
    searched, final = _changed(trained, trial=3, phase="search"), _changed(trained, trial=3)
    (tmp_path / "pictures").mkdir()
    for name in ("report.md", "results.csv", "results.jsonl", "pictures/lr.png"):
        (tmp_path / name).write_text(name)
    for _ in range(2):
        opened = store()
        for result in (searched, final):
            opened.add_result(result)
        opened.set_best(final, {"trial": 3, "optimizer.lr": 0.5})
        opened.add_report(tmp_path)
        opened.close("FINISHED")
    (parent,) = _runs(opened, 'tags.phase = "sweep"')
    assert parent.info.status == "FINISHED"
    assert _history(opened, parent) == result_points(final)
    assert (parent.data.tags["best.trial"], parent.data.tags["best.optimizer.lr"]) == ("3", "0.5")
    artifacts = {item.path for item in opened.client.list_artifacts(parent.info.run_id)}
    assert artifacts == {"best.yaml", "report.md", "results.csv", "pictures"}
    assert [item.path for item in opened.client.list_artifacts(parent.info.run_id, "pictures")] == ["pictures/lr.png"]


def test_another_best_replaces_the_earlier_one(store: OpenStore, trained: TrialResult) -> None:
    first, second = (_changed(trained, trial=trial) for trial in (3, 4))
    moved = {
        name: curve.model_copy(update={"times": [time + 7 for time in curve.times]})
        for name, curve in second.curves.items()
    }
    second = second.model_copy(update={"curves": moved})
    for best in (first, second):
        opened = store()
        for result in (first, second):
            opened.add_result(result)
        opened.set_best(best, {"trial": best.spec.trial})
    (parent,) = _runs(opened, 'tags.phase = "sweep"')
    assert _history(opened, parent) == result_points(second)
    assert parent.data.tags["best.trial"] == "4"
    children = _runs(opened, 'tags.phase = "final"')
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert len(children) == 2


def test_a_person_may_describe_the_experiment(store: OpenStore) -> None:
    opened = store()
    tags = opened.client.get_experiment(opened.experiment_id).tags
    assert tags["mlflow.note.content"] == mlflow_views.description(opened.experiment_id)
    assert mlflow_views.TAG + mlflow_views.ALL in tags
    opened.client.set_experiment_tag(opened.experiment_id, "mlflow.note.content", "a person's own words")
    again = store()
    tags = again.client.get_experiment(again.experiment_id).tags
    assert tags["mlflow.note.content"] == "a person's own words"


def test_a_server_that_is_down_costs_seconds(trained: TrialResult, tmp_path: Path) -> None:
    started = time.monotonic()
    publisher = Publisher(tmp_path, NOWHERE, "nowhere")
    publisher.publish_points(trained.spec, _first_points(trained, 1))
    publisher.publish(trained)
    publisher.close()
    assert publisher.failure is not None
    assert publisher.page is None
    assert "127.0.0.1" in publisher.failure
    assert time.monotonic() - started < 60


@contextmanager
def _mute(words: bytes, every_seconds: float) -> Iterator[str]:
    """A server that accepts connections and sends `words` at intervals, never a whole answer."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while True:
                    connection.sendall(words)
                    time.sleep(every_seconds)

        def listen() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=speak, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def test_a_server_that_never_answers_costs_seconds(trained: TrialResult, tmp_path: Path) -> None:
    with _mute(b"", 1) as url:
        started = time.monotonic()
        publisher = Publisher(tmp_path, url, "nowhere")
        for seed in range(3):
            publisher.publish(_changed(trained, seed=seed))
        assert time.monotonic() - started < 0.5  # training does not wait
        publisher.close()
        assert publisher.failure is not None and "timed out" in publisher.failure
        assert time.monotonic() - started < 20  # two tries: the first one, and one at the end


def test_close_gives_up_on_a_server_that_answers_letter_by_letter(
    trained: TrialResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_module, "TASK_TIMEOUT_SECONDS", 3.0)
    with _mute(b"H", 0.5) as url:
        publisher = Publisher(tmp_path, url, "nowhere")
        publisher.publish(trained)
        started, lines = time.monotonic(), list[str]()
        publisher.close(log=lines.append)
        assert time.monotonic() - started < 10
    assert publisher.failure == "one update took longer than 3 s"
    assert lines == ["waiting for MLflow: about 2 updates are not published yet"]


def test_an_interrupt_does_not_wait_for_a_server(trained: TrialResult, tmp_path: Path) -> None:
    with _mute(b"H", 0.5) as url:
        publisher = Publisher(tmp_path, url, "nowhere")
        for seed in range(100):
            publisher.publish(_changed(trained, seed=seed))
        started = time.monotonic()
        publisher.close("KILLED")
        assert time.monotonic() - started < EARLY_CLOSE_SECONDS + 1


def test_a_server_that_comes_back_is_found_before_the_end(
    server: str,
    store: OpenStore,
    trained: TrialResult,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher_module, "RETRY_SECONDS", 0.5)
    publisher = Publisher(tmp_path, NOWHERE, request.node.name)
    publisher.publish(_changed(trained, seed=0))
    while publisher.failure is None:
        time.sleep(0.05)
    publisher._uri = server
    time.sleep(0.5)
    publisher.publish(_changed(trained, seed=1))
    deadline = time.monotonic() + 30
    while publisher.waiting and time.monotonic() < deadline:
        time.sleep(0.05)
    assert publisher.failure is None
    assert sorted(run.data.tags["seed"] for run in _runs(store())) == ["0", "1"]
    publisher.close()


def test_failed_tasks_are_tried_again_at_the_end(
    server: str, store: OpenStore, trained: TrialResult, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A server that is down for a while costs nothing. Here it is down until the last run."""
    publisher = Publisher(tmp_path, NOWHERE, request.node.name)
    for seed in range(3):
        publisher.publish(_changed(trained, seed=seed))
    while publisher.failure is None:
        time.sleep(0.05)
    publisher._uri = server
    publisher.publish(_changed(trained, seed=3))
    publisher.close()
    assert publisher.failure is None
    assert sorted(run.data.tags["seed"] for run in _runs(store())) == ["0", "1", "2", "3"]


ENVIRONMENT = """
import os
before = dict(os.environ)
from lrbench.tracking import mlflow_client, mlflow_store, publisher, sync
assert dict(os.environ) == before
mlflow_store.create_database("sqlite:///mlflow.db")
changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
assert changed == {**mlflow_client.HTTP_LIMITS, **mlflow_client.TELEMETRY_OFF}, changed
from mlflow.telemetry.client import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
assert is_telemetry_disabled() and get_telemetry_client() is None
print("telemetry is off")
"""


def test_an_import_changes_no_environment_and_an_open_store_sends_no_telemetry(tmp_path: Path) -> None:
    # Without the variables of pytest and of a CI, with which MLflow sends no telemetry anyway.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ENVIRONMENT], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "telemetry is off\n", done.stderr
