import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lrbench import loop, tracking, views
from lrbench.results import Points, TrialResult
from lrbench.spec import TrialSpec
from lrbench.store import Store, points_of, uri_of
from tests.servers import Server

if TYPE_CHECKING:
    from mlflow.entities import Run

Spec = Callable[..., TrialSpec]

pytestmark = pytest.mark.xdist_group("server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real tracking server."""
    with Server(tmp_path_factory.mktemp("server")) as started:
        yield started.url


@pytest.fixture
def store(server: str, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], Store]:
    """Opens the test's own experiment on the server, as each process does anew."""
    return lambda: Store(tmp_path, server, request.node.name)


@pytest.fixture(scope="module")
def trained(hydra: None) -> TrialResult:
    """The final run of the cosine schedule, outside any sweep."""
    from lrbench import config
    from tests.conftest import SMALL

    return loop.train_one(config.parse(config.load("config", [*SMALL, "scheduler=cosine"])))


def _changed(result: TrialResult, state: str = "finished", **changes: object) -> TrialResult:
    return result.model_copy(update={"state": state, "spec": result.spec.model_copy(update=changes)})


def _runs(store: Store, search: str = "") -> "list[Run]":
    return list(store._runs(search))


def _history(store: Store, run: "Run") -> Points:
    return {
        name: [(point.step, point.value, point.timestamp) for point in store.client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def _first_points(result: TrialResult, points: int) -> Points:
    return {name: metric[:points] for name, metric in points_of(result).items() if name != "test/accuracy"}


def test_publishes_to_a_server_once(server: str, trained: TrialResult, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    for _ in range(2):
        with tracking.Publisher(tmp_path, server, "served") as publisher:
            publisher.publish(trained)
        assert publisher.failure is None
    client = MlflowClient(tracking_uri=server)
    experiment = client.get_experiment_by_name("served")
    assert experiment is not None
    assert publisher.page == views.page(experiment.experiment_id)
    (run,) = client.search_runs([experiment.experiment_id])
    rates = [point.value for point in client.get_metric_history(run.info.run_id, "lr")]
    assert rates == trained.curves["lr"].values
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {"config.yaml", "lr.png"}


def test_what_a_run_tells_while_it_trains_is_what_its_curves_become(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "LIVE_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(loop, "LIVE_EVERY_SECONDS", 0.0)
    told: list[Points] = []
    result = loop.train_one(spec("train.epochs=2"), lambda progress: told.append(progress.points))
    grown: Points = {}
    for points in told:
        for name, metric in points.items():
            grown.setdefault(name, []).extend(metric)
    assert len([points for points in told if points]) >= 4
    assert grown == {name: metric for name, metric in points_of(result).items() if not name.startswith("test/")}


def test_a_short_run_tells_nothing_while_it_trains(spec: Spec) -> None:
    told: list[Points] = []
    loop.train_one(spec(), lambda progress: told.append(progress.points))
    assert not any(told)


def test_a_run_that_lasts_is_there_while_it_trains(store: Callable[[], Store], trained: TrialResult) -> None:
    here = store()
    for length in (0, 1, 3):
        points = {name: metric[length:] for name, metric in _first_points(trained, 5).items()}
        here.grow(trained.spec, points if length else _first_points(trained, 1))
        (run,) = _runs(here, 'tags.state = "running" and attributes.status = "RUNNING"')
    assert _history(here, run) == _first_points(trained, 5)
    here.add(trained)
    (run,) = _runs(here)
    assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "finished")
    assert _history(here, run) == points_of(trained)
    assert run.info.start_time == trained.curves["lr"].times[0]


def test_a_run_whose_worker_died_begins_anew(store: Callable[[], Store], trained: TrialResult) -> None:
    here, later = store(), 7
    here.grow(trained.spec, _first_points(trained, 5))
    again = {name: [(step, value, time + later) for step, value, time in metric] for name, metric in _first_points(trained, 2).items()}
    here.grow(trained.spec, again)
    (run,) = _runs(here)
    assert _history(here, run) == again


def test_what_a_killed_process_left_unfinished_goes(store: Callable[[], Store], trained: TrialResult) -> None:
    """A sweep's at once, as its experiment is its own; that of `lrbench.train`, where others may be at work, when it is trained again."""
    searched = _changed(trained, trial=3, phase="search")
    killed = store()
    for result in (trained, searched):
        killed.grow(result.spec, _first_points(result, 2))
    again = store()
    assert [run.data.tags["phase"] for run in _runs(again, 'tags.phase != "sweep"')] == ["final"]
    for result in (trained, searched):
        again.add(result)
    runs = _runs(again, 'tags.phase != "sweep"')
    assert sorted(run.data.tags["phase"] for run in runs) == ["final", "search"]
    assert all(_history(again, run) == points_of(trained) for run in runs)


def test_an_interrupted_run_says_so(store: Callable[[], Store], trained: TrialResult) -> None:
    searched = _changed(trained, trial=3, phase="search")
    here = store()
    here.grow(searched.spec, _first_points(searched, 2))
    here.end("KILLED")
    assert {run.info.status for run in _runs(here)} == {"KILLED"}
    assert [run.data.tags["trial"] for run in _runs(here, 'tags.state = "interrupted"')] == ["3"]
    assert not _runs(store(), 'tags.state = "interrupted"')


def test_a_run_that_failed_says_so_until_it_has_a_result(store: Callable[[], Store], trained: TrialResult) -> None:
    searched = _changed(trained, trial=3, phase="search")
    here = store()
    here.fail(searched.spec, "RuntimeError: no memory")
    (run,) = _runs(here, 'tags.state = "failed"')
    assert (run.info.status, run.data.tags["reason"]) == ("FAILED", "RuntimeError: no memory")
    again = store()
    again.add(searched)
    (run,) = _runs(again, 'tags.trial = "3"')
    assert run.info.status == "FINISHED"


def test_runs_are_found_by_scheduler_phase_state_and_trial(store: Callable[[], Store], trained: TrialResult) -> None:
    here = store()
    cyclic = trained.spec.scheduler.model_copy(update={"name": "cyclic"})
    here.add(trained)
    here.add(_changed(trained, trial=3, phase="search"))
    here.add(_changed(trained, "diverged", trial=4, phase="search", scheduler=cyclic))
    here.add(_changed(trained, "pruned", trial=5, phase="search", scheduler=cyclic))
    found = {
        search: {run.data.tags["mlflow.runName"] for run in _runs(here, f'{search} and tags.phase != "sweep"')}
        for search in ('tags.scheduler = "cyclic"', 'tags.phase = "final"', 'tags.state = "diverged"', 'tags.trial = "3"')
    }
    assert found == {
        'tags.scheduler = "cyclic"': {"cyclic search trial 4 seed 0", "cyclic search trial 5 seed 0"},
        'tags.phase = "final"': {"cosine final seed 0"},
        'tags.state = "diverged"': {"cyclic search trial 4 seed 0"},
        'tags.trial = "3"': {"cosine search trial 3 seed 0"},
    }


def test_a_parent_has_the_best_and_the_report_once(store: Callable[[], Store], trained: TrialResult, tmp_path: Path) -> None:
    searched, final = _changed(trained, trial=3, phase="search"), _changed(trained, trial=3)
    (tmp_path / "pictures").mkdir()
    for name in ("report.md", "results.csv", "results.jsonl", "pictures/lr.png"):
        (tmp_path / name).write_text(name)
    for _ in range(2):
        here = store()
        for result in (searched, final):
            here.add(result)
        here.add_best(final, {"trial": 3, "optimizer.lr": 0.5})
        here.add_report(tmp_path)
        here.end("FINISHED")
    (parent,) = _runs(here, 'tags.phase = "sweep"')
    assert parent.info.status == "FINISHED"
    assert _history(here, parent) == points_of(final)
    assert (parent.data.tags["best.trial"], parent.data.tags["best.optimizer.lr"]) == ("3", "0.5")
    artifacts = {item.path for item in here.client.list_artifacts(parent.info.run_id)}
    assert artifacts == {"best.yaml", "report.md", "results.csv", "pictures"}
    assert [item.path for item in here.client.list_artifacts(parent.info.run_id, "pictures")] == ["pictures/lr.png"]


def test_another_best_takes_the_place_of_the_one_before(store: Callable[[], Store], trained: TrialResult) -> None:
    first, second = (_changed(trained, trial=trial) for trial in (3, 4))
    moved = {name: curve.model_copy(update={"times": [time + 7 for time in curve.times]}) for name, curve in second.curves.items()}
    second = second.model_copy(update={"curves": moved})
    for best in (first, second):
        here = store()
        for result in (first, second):
            here.add(result)
        here.add_best(best, {"trial": best.spec.trial})
    (parent,) = _runs(here, 'tags.phase = "sweep"')
    assert _history(here, parent) == points_of(second)
    assert parent.data.tags["best.trial"] == "4"
    children = _runs(here, 'tags.phase = "final"')
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert len(children) == 2


def test_the_experiment_says_what_its_page_shows(store: Callable[[], Store]) -> None:
    for _ in range(2):
        here = store()
        tags = here.client.get_experiment(here.experiment).tags
        here.client.set_experiment_tag(here.experiment, "mlflow.note.content", "a person's own words")
    assert tags["mlflow.note.content"] == "a person's own words"
    view = json.loads(tags[views.TAG + views.ALL])
    charts = [(chart["metricKey"], chart["type"]) for chart in json.loads(view["state"])["compareRunCharts"]]
    assert charts[:3] == [("lr", "LINE"), ("val/accuracy", "LINE"), ("train/loss", "LINE")]
    assert views.page(here.experiment).endswith(f"viewStateShareKey={views.ALL}")


def test_a_server_that_is_down_costs_seconds_and_says_so(trained: TrialResult, tmp_path: Path) -> None:
    started = time.monotonic()
    publisher = tracking.Publisher(tmp_path, "http://127.0.0.1:9", "nowhere")
    publisher.grow(trained.spec, _first_points(trained, 1))
    publisher.publish(trained)
    publisher.close()
    assert publisher.failure is not None
    assert publisher.page is None
    assert "127.0.0.1" in publisher.failure
    assert time.monotonic() - started < 60


@contextmanager
def _mute(words: bytes, every_seconds: float) -> Iterator[str]:
    """A server that takes connections and says so much so often, and nothing that is an answer."""
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
        publisher = tracking.Publisher(tmp_path, url, "nowhere")
        for seed in range(3):
            publisher.publish(_changed(trained, seed=seed))
        assert time.monotonic() - started < 0.5  # who trains does not wait
        publisher.close()
        assert publisher.failure is not None and "timed out" in publisher.failure
        assert time.monotonic() - started < 20  # two tries: on the way and at the end


def test_a_server_that_answers_letter_by_letter_is_left_behind(
    trained: TrialResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE_SECONDS", 3.0)
    with _mute(b"H", 0.5) as url:
        publisher = tracking.Publisher(tmp_path, url, "nowhere")
        publisher.publish(trained)
        started, said = time.monotonic(), list[str]()
        publisher.close(say=said.append)
        assert time.monotonic() - started < 10
    assert publisher.failure == "it took longer than 3.0 s for a run"
    assert said == ["publishing to MLflow what it lacks, 2 runs or so"]


def test_an_interrupt_does_not_wait_for_a_server(trained: TrialResult, tmp_path: Path) -> None:
    with _mute(b"H", 0.5) as url:
        publisher = tracking.Publisher(tmp_path, url, "nowhere")
        for seed in range(100):
            publisher.publish(_changed(trained, seed=seed))
        started = time.monotonic()
        publisher.close("KILLED")
        assert time.monotonic() - started < tracking.HURRY_SECONDS + 1


def test_a_server_that_comes_back_is_found_on_the_way(
    server: str,
    store: Callable[[], Store],
    trained: TrialResult,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.5)
    publisher = tracking.Publisher(tmp_path, "http://127.0.0.1:9", request.node.name)
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


def test_what_failed_on_the_way_is_tried_again_at_the_end(
    server: str, store: Callable[[], Store], trained: TrialResult, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A server that is gone for a while costs nothing: here its address leads nowhere until the last run is handed over."""
    gone, back = "http://127.0.0.1:9", server
    publisher = tracking.Publisher(tmp_path, gone, request.node.name)
    for seed in range(3):
        publisher.publish(_changed(trained, seed=seed))
    while publisher.failure is None:
        time.sleep(0.05)
    publisher._uri = back
    publisher.publish(_changed(trained, seed=3))
    publisher.close()
    assert publisher.failure is None
    assert sorted(run.data.tags["seed"] for run in _runs(store())) == ["0", "1", "2", "3"]


def test_store_is_absolute_whatever_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert uri_of(Path("runs"), None) == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert uri_of(Path("runs"), "http://host:5000") == "http://host:5000"


def test_telemetry_is_off() -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
