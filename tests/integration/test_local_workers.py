"""Real worker processes. Each start imports torch for seconds, so most tests share processes."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lrbench.executors.executor import RunError, Workspace
from lrbench.executors.local import LocalWorkers
from lrbench.executors.worker_process import WorkerProcess
from lrbench.results.result import Progress
from lrbench.spec import ConfigError, DeviceInfo, TrialSpec
from lrbench.training.train import train_one
from tests.builders import without_times
from tests.conftest import Spec
from tests.executors.callbacks import no_monitor, no_progress

SETTINGS: dict[str, Any] = {"checkpoint_seconds": 60.0, "silence_seconds": 300.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def workers(folder: Path) -> Iterator[LocalWorkers]:
    """Two workers that no test kills. Their first preflight is done by `device`."""
    executor = LocalWorkers(Workspace(folder / "logs", folder / "checkpoints", folder), workers=2, **SETTINGS)
    yield executor
    executor.close()


@pytest.fixture(scope="module")
def device(workers: LocalWorkers, hydra: None) -> DeviceInfo:
    from lrbench.config.compose import load_config, parse_spec
    from tests.conftest import SMALL

    return workers.preflight([parse_spec(load_config("config", list(SMALL)))], print)


@pytest.fixture(scope="module")
def process(folder: Path) -> Iterator[WorkerProcess]:
    """A worker that no test kills."""
    worker = WorkerProcess(folder / "worker.log", folder, silence_seconds=300)
    yield worker
    worker.close()


def test_results_equal_those_of_train_one(workers: LocalWorkers, device: DeviceInfo, spec: Spec) -> None:
    assert len(set(workers.pids)) == workers.concurrency(device, "auto") == 2
    runs = [spec(f"seed={seed}").resolved(device) for seed in range(3)]
    futures = [workers.submit(run, no_progress, no_monitor) for run in runs]
    expected = [without_times(train_one(run)) for run in runs]
    assert [without_times(future.result()) for future in futures] == expected


def test_a_failed_run_gives_its_reason(workers: LocalWorkers, device: DeviceInfo, spec: Spec) -> None:
    run = spec("scheduler=lambda", "scheduler.args.lr_lambda='1 / (step - 5)'").resolved(device)
    with pytest.raises(RunError, match="division by zero"):
        workers.submit(run, no_progress, no_monitor).result()
    assert workers.submit(spec().resolved(device), no_progress, no_monitor).result().state == "finished"


def test_progress_and_monitor_are_called(workers: LocalWorkers, device: DeviceInfo, spec: Spec) -> None:
    run = spec("train.epochs=2", "phase=search").resolved(device)
    epochs: list[float] = []
    result = workers.submit(
        run, lambda _, progress: epochs.append(progress.epoch), lambda: lambda number, accuracy: number < 2
    ).result()
    assert result.state == "pruned"
    assert len(result.curves["val/accuracy"].steps) == 2
    assert epochs and max(epochs) <= 1


def test_an_invalid_spec_is_reported_before_training(process: WorkerProcess, spec: Spec) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        process.preflight([spec("scheduler.args.pct_start=2")], print)


def test_a_preflight_that_fails_gives_its_reason(process: WorkerProcess, spec: Spec) -> None:
    not_a_spec = spec().model_copy(update={"seed": -1})
    with pytest.raises(RunError, match=r"(?s)ValidationError.*see .*worker\.log"):
        process.preflight([not_a_spec], print)


def test_a_killed_worker_costs_only_time(spec: Spec, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_once(run: TrialSpec, progress: Progress) -> None:
        if not killed:
            killed.append(executor.pids[0])
            os.kill(killed[0], signal.SIGKILL)

    executor = LocalWorkers(Workspace(tmp_path, tmp_path, tmp_path), workers=1, **SETTINGS)
    try:
        run = spec("train.epochs=4").resolved(executor.preflight([spec()], print))
        result = executor.submit(run, kill_once, no_monitor).result()
        assert killed and killed != executor.pids
        assert without_times(result) == without_times(train_one(run))
    finally:
        executor.close()


def test_workers_that_cannot_start_give_the_reason(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "nowhere"))
    workers = LocalWorkers(Workspace(tmp_path, tmp_path, tmp_path), workers=1, **SETTINGS)
    try:
        with pytest.raises(
            RunError, match=r"(?s)died 3 times; last cause: exit code 1;.*worker-0\.log.*Fatal Python error"
        ):
            workers.preflight([spec()], print)
    finally:
        workers.close()
