"""The publisher's thread, with a store that only records its calls."""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lrbench.results.result import Points, TrialResult
from lrbench.spec import TrialSpec
from lrbench.tracking import mlflow_views, publisher
from lrbench.tracking.publisher import Publisher


class Store:
    """Records calls. While `problems` are left, each call raises the next one."""

    experiment_id = "7"

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.problems: list[Exception] = []
        self.opened = 0
        self.free = threading.Event()  # until it is set, a result is not published
        self.free.set()

    def open(self, out: Path, uri: str, experiment: str) -> "Store":
        self.opened += 1
        return self

    def _record(self, *call: object) -> None:
        if self.problems:
            raise self.problems.pop(0)
        self.calls.append(call)

    def add_result(self, result: TrialResult) -> None:
        assert self.free.wait(10)
        self._record("result", result.spec.seed)

    def add_points(self, spec: TrialSpec, points: Points) -> None:
        self._record("points", spec.seed, sorted(points))

    def add_failure(self, spec: TrialSpec, reason: str) -> None:
        self._record("failure", spec.seed, reason)

    def set_best(self, final: TrialResult, best: Mapping[str, object]) -> None:
        self._record("best", final.spec.seed, dict(best))

    def add_report(self, folder: Path) -> None:
        self._record("report", folder.name)

    def close(self, status: str) -> None:
        self._record("close", status)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(publisher, "MlflowStore", store.open)
    return store


@pytest.fixture
def open_publisher(store: Store, tmp_path: Path) -> Callable[[], Publisher]:
    return lambda: Publisher(tmp_path, None, "mine")


def test_tasks_are_done_in_their_order(
    store: Store, open_publisher: Callable[[], Publisher], result: TrialResult
) -> None:
    with open_publisher() as opened:
        opened.publish_points(result.spec, {"lr": [(0, 0.5, 1)]})
        opened.publish_points(result.spec, {})
        opened.publish_failure(result.spec, "no memory")
        opened.publish(result)
        opened.publish_best(result, {"trial": 3})
        opened.publish_report(Path("runs/quick"))
    assert store.calls == [
        ("points", 3, ["lr"]),
        ("failure", 3, "no memory"),
        ("result", 3),
        ("best", 3, {"trial": 3}),
        ("report", "quick"),
        ("close", "FINISHED"),
    ]
    assert (opened.failure, store.opened) == (None, 1)
    assert opened.page == mlflow_views.page("7")


def test_a_failed_task_is_tried_again_at_the_end(
    store: Store, open_publisher: Callable[[], Publisher], result: TrialResult
) -> None:
    store.problems = [ConnectionError("no server\nmore")]
    with open_publisher() as opened:
        opened.publish(result)
        while opened.failure is None:
            time.sleep(0.01)
        assert opened.failure == "no server"
        assert store.calls == []
    assert store.calls == [("result", 3), ("close", "FINISHED")]
    assert opened.failure is None
    assert store.opened == 2


def test_a_task_that_fails_at_the_end_is_the_failure(
    store: Store, open_publisher: Callable[[], Publisher], result: TrialResult
) -> None:
    store.problems = [ConnectionError(), ConnectionError(), ConnectionError()]
    with open_publisher() as opened:
        opened.publish(result)
    assert opened.failure == "ConnectionError"
    assert opened.waiting == 2


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_after_a_failure_an_early_end_publishes_only_how_it_ended(
    error: type[BaseException],
    status: str,
    store: Store,
    open_publisher: Callable[[], Publisher],
    result: TrialResult,
) -> None:
    def train() -> None:
        with open_publisher() as opened:
            for _ in range(9):
                opened.publish(result)
            while opened.failure is None:
                time.sleep(0.01)
            raise error

    store.problems = [ConnectionError("no server")]
    with pytest.raises(error):
        train()
    assert store.calls == [("close", status)]


def test_close_logs_a_long_wait_and_gives_up_at_last(
    store: Store,
    open_publisher: Callable[[], Publisher],
    result: TrialResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "LOG_AFTER_SECONDS", 0.05)
    monkeypatch.setattr(publisher, "TASK_TIMEOUT_SECONDS", 0.1)
    store.free.clear()
    lines: list[str] = []
    opened = open_publisher()
    opened.publish(result)
    opened.close(log=lines.append)
    store.free.set()
    assert lines == ["waiting for MLflow: about 2 updates are not published yet"]
    assert opened.failure == "one update took longer than 0.1 s"
