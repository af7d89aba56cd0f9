import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lrbench import loop
from lrbench.executors import Checkpoints, Executor, Inline, LocalWorkers, RunError
from lrbench.spec import ConfigError, TrialSpec

Spec = Callable[..., TrialSpec]


@pytest.fixture(params=["inline", "local"])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    kept = Checkpoints(tmp_path, 60)
    made: Executor = Inline(kept, lambda *_: None) if request.param == "inline" else LocalWorkers(2, tmp_path, kept, lambda *_: None)
    yield made
    made.close()


def test_every_executor_gives_what_train_one_gives(executor: Executor, spec: Spec) -> None:
    machine = executor.examine([spec()], print)
    runs = [spec(f"seed={seed}").settled(machine) for seed in range(3)]
    found = [future.result() for future in [executor.submit(run) for run in runs]]
    assert [result.without_times() for result in found] == [loop.train_one(run).without_times() for run in runs]


def test_every_executor_reports_what_cannot_run(executor: Executor, spec: Spec) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        executor.examine([spec("scheduler.args.pct_start=2")], print)


def test_every_executor_ends_a_failing_run_with_its_reason(executor: Executor, spec: Spec) -> None:
    machine = executor.examine([spec()], print)
    failing = executor.submit(spec("scheduler=lambda", "scheduler.args.lr_lambda='1 / (step - 5)'").settled(machine))
    with pytest.raises(RunError, match="division by zero"):
        failing.result()
    assert executor.submit(spec().settled(machine)).result().state == "finished"


def test_an_examination_that_breaks_ends_with_its_reason(spec: Spec, tmp_path: Path) -> None:
    workers = LocalWorkers(1, tmp_path, Checkpoints(tmp_path, 60), lambda *_: None)
    try:
        with pytest.raises(RunError, match=r"(?s)ValidationError.*see .*worker-0\.log"):
            workers.examine([spec().model_copy(update={"seed": -1})], print)  # no spec: the worker does not get past reading it
    finally:
        workers.close()


def test_a_worker_that_is_killed_before_it_has_examined_is_replaced(spec: Spec, tmp_path: Path) -> None:
    workers = LocalWorkers(1, tmp_path, Checkpoints(tmp_path, 60), lambda *_: None)
    try:
        os.kill(workers._workers[0]._process.pid, signal.SIGKILL)
        assert workers.examine([spec()], print).device == "cpu"
    finally:
        workers.close()


def test_workers_that_cannot_start_end_with_the_reason(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path / "nowhere"))
    workers = LocalWorkers(1, tmp_path, Checkpoints(tmp_path, 60), lambda *_: None)
    try:
        with pytest.raises(RunError, match=r"(?s)died 3 times, at last by exit code 1.*worker-0\.log.*Fatal Python error"):
            workers.examine([spec()], print)
    finally:
        workers.close()


def test_a_killed_worker_costs_nothing_but_time(spec: Spec, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_once(run: TrialSpec, progress: object) -> None:
        if not killed:
            killed.append(workers._workers[0]._process.pid)
            os.kill(killed[0], signal.SIGKILL)

    workers = LocalWorkers(1, tmp_path, Checkpoints(tmp_path, 60), kill_once)
    try:
        run = spec("train.epochs=4").settled(workers.examine([spec()], print))
        assert workers.submit(run).result().without_times() == loop.train_one(run).without_times()
        assert killed
    finally:
        workers.close()


def test_a_run_that_kills_every_worker_fails_alone(spec: Spec, tmp_path: Path) -> None:
    def kill_seed_1(run: TrialSpec, progress: object) -> None:
        if run.seed == 1:
            os.kill(workers._workers[0]._process.pid, signal.SIGKILL)

    workers = LocalWorkers(1, tmp_path, Checkpoints(tmp_path, 60), kill_seed_1)
    try:
        machine = workers.examine([spec()], print)
        bad, good = (workers.submit(spec(f"seed={seed}", "train.epochs=4").settled(machine)) for seed in (1, 2))
        with pytest.raises(RunError, match=r"died 3 times, at last by SIGKILL.*worker-0\.log"):
            bad.result()
        assert good.result().state == "finished"
    finally:
        workers.close()


def test_a_worker_that_hangs_is_killed_and_its_run_fails_with_the_reason(spec: Spec, tmp_path: Path) -> None:
    def hang(run: TrialSpec, progress: object) -> None:
        os.kill(workers._workers[0]._process.pid, signal.SIGSTOP)

    workers = LocalWorkers(1, tmp_path, Checkpoints(tmp_path, 60), hang, silence_seconds=10)
    try:
        machine = workers.examine([spec()], print)
        run = spec("train.epochs=4").settled(machine)
        workers._workers[0]._silence_seconds = 0.5  # the first message has come, and with it torch
        with pytest.raises(RunError, match=r"died 3 times, at last by 0\.5 s without a sign of life"):
            workers.submit(run).result(timeout=120)
    finally:
        workers.close()
