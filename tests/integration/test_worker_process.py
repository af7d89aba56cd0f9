"""The coordinator's end of worker processes, tested with stubs that start at once."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from lrbench.executors import worker_process
from lrbench.executors.executor import RunError, Workspace
from lrbench.executors.local import LocalWorkers
from lrbench.executors.worker_process import WorkerProcess
from lrbench.results.result import Progress, TrialResult
from lrbench.spec import TrialSpec
from tests.conftest import Spec
from tests.executors.callbacks import no_monitor, no_progress

STUB = Path(__file__).with_name("stub_worker.py")


@pytest.fixture(autouse=True)
def _stubs(tmp_path: Path, spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "COMMAND", (sys.executable, str(STUB)))
    monkeypatch.setattr(worker_process, "EXIT_SECONDS", 1.0)
    result = TrialResult(
        spec=spec(), state="finished", reason="", curves={}, train_seconds=0, eval_seconds=0, environment={}
    )
    (tmp_path / "result.json").write_text(result.model_dump_json(by_alias=True))


@pytest.fixture
def process(tmp_path: Path) -> Iterator[WorkerProcess]:
    worker = WorkerProcess(tmp_path / "worker.log", tmp_path, silence_seconds=0.5)
    yield worker
    worker.close()


@pytest.fixture
def workers(tmp_path: Path, spec: Spec) -> Iterator[LocalWorkers]:
    """One worker, ready to train."""
    executor = LocalWorkers(
        Workspace(tmp_path, tmp_path, tmp_path), workers=1, checkpoint_seconds=60.0, silence_seconds=5.0
    )
    executor.preflight([spec()], print)
    yield executor
    executor.close()


def _named(spec: TrialSpec, name: str) -> TrialSpec:
    return spec.model_copy(update={"scheduler": spec.scheduler.model_copy(update={"name": name})})


def _submit(workers: LocalWorkers, spec: TrialSpec, name: str = "constant") -> Future[TrialResult]:
    return workers.submit(_named(spec, name), no_progress, no_monitor)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("dies", "exit code 7"),
        ("half a line", "exit code 7"),
        ("ends late", "exit code 7"),
        ("closes its output", "it closed its output"),
        ("is silent", "it was silent for 0.5 s, longer than executor.silence_seconds"),
    ],
)
def test_the_cause_of_an_end(process: WorkerProcess, spec: Spec, tmp_path: Path, name: str, cause: str) -> None:
    before = process.pid
    assert process.train(_named(spec(), name), tmp_path / "c.pt", 60, no_progress, None) is None
    assert process.restart() == cause
    assert process.pid != before and not _alive(before)
    assert process.train(spec(), tmp_path / "c.pt", 60, no_progress, None) is not None


@pytest.mark.parametrize(("visible", "seen"), [(None, "1"), ("", "1"), ("2,3", "3"), ("GPU-a,GPU-b", "GPU-b")])
def test_a_worker_sees_a_gpu_among_the_visible_ones(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, seen: str
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    worker = WorkerProcess(tmp_path / "worker.log", tmp_path, silence_seconds=0.5, gpu=1)
    logged: list[str] = []
    worker.preflight([_named(spec(), "names its GPUs")], logged.append)
    worker.close()
    assert logged == [seen, "ready"]


def test_the_cause_of_a_kill(process: WorkerProcess, spec: Spec, tmp_path: Path) -> None:
    for number, cause in ((signal.SIGKILL, "SIGKILL, often for lack of memory"), (signal.SIGSEGV, "SIGSEGV")):
        os.kill(process.pid, number)
        assert process.train(spec(), tmp_path / "c.pt", 60, no_progress, None) is None
        assert process.restart().startswith(cause)


def test_a_worker_that_stops_is_killed(process: WorkerProcess, spec: Spec, tmp_path: Path) -> None:
    def stop(run: TrialSpec, progress: Progress) -> None:
        os.kill(process.pid, signal.SIGSTOP)

    assert process.train(_named(spec(), "is silent"), tmp_path / "c.pt", 60, stop, None) is None
    assert process.restart() == "it was silent for 0.5 s, longer than executor.silence_seconds"


def test_closing_ends_a_process_that_lives(process: WorkerProcess) -> None:
    assert _alive(process.pid)
    process.close()
    assert not _alive(process.pid)


def test_a_child_that_holds_the_output_does_not_block_the_end(
    process: WorkerProcess, spec: Spec, tmp_path: Path
) -> None:
    assert process.train(_named(spec(), "leaves a child"), tmp_path / "c.pt", 60, no_progress, None) is None
    started = time.monotonic()
    process.restart()
    assert time.monotonic() - started < 10
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_a_worker_that_dies_in_the_preflight_is_replaced(tmp_path: Path, spec: Spec) -> None:
    workers = LocalWorkers(
        Workspace(tmp_path, tmp_path, tmp_path), workers=2, checkpoint_seconds=60.0, silence_seconds=5.0
    )
    lines: list[str] = []
    try:
        assert workers.preflight([_named(spec(), "dies once")], lines.append).device == "cpu"
        assert len(set(workers.pids)) == 2
        assert lines == ["ready"]
    finally:
        workers.close()


def test_a_run_that_kills_every_worker_fails_alone(workers: LocalWorkers, spec: Spec) -> None:
    def kill(run: TrialSpec, progress: Progress) -> None:
        os.kill(workers.pids[0], signal.SIGKILL)

    bad = workers.submit(_named(spec(), "is silent"), kill, no_monitor)
    good = _submit(workers, spec("seed=2"))
    with pytest.raises(RunError, match=r"died 3 times; last cause: SIGKILL.*worker-0\.log"):
        bad.result(timeout=60)
    assert good.result(timeout=60).spec.seed == 2


def test_a_worker_that_hangs_in_a_run_is_killed_and_the_run_fails(tmp_path: Path, spec: Spec) -> None:
    workers = LocalWorkers(
        Workspace(tmp_path, tmp_path, tmp_path), workers=1, checkpoint_seconds=60.0, silence_seconds=0.5
    )
    try:
        workers.preflight([spec()], print)
        with pytest.raises(RunError, match=r"died 3 times; last cause: it was silent for 0\.5 s"):
            _submit(workers, spec(), "is silent").result(timeout=60)
    finally:
        workers.close()


def test_a_callback_that_fails_is_seen_and_the_next_run_is_whole(workers: LocalWorkers, spec: Spec) -> None:
    def fail(run: TrialSpec, progress: Progress) -> None:
        raise ValueError("no progress, please")

    def fail_to_judge(evaluation: int, accuracy: float) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ValueError, match="no progress"):
        workers.submit(spec("seed=1"), fail, no_monitor).result(timeout=60)
    with pytest.raises(ZeroDivisionError):
        workers.submit(spec("seed=2"), no_progress, lambda: fail_to_judge).result(timeout=60)
    assert _submit(workers, spec("seed=3")).result(timeout=60).spec.seed == 3


def test_closing_drops_the_runs(workers: LocalWorkers, spec: Spec) -> None:
    futures = [_submit(workers, spec(), "is silent"), _submit(workers, spec())]
    (pid,) = workers.pids
    workers.close()
    for future in futures:
        with pytest.raises(RunError, match="the sweep ended"):
            future.result(timeout=10)
    assert not _alive(pid)


def test_closing_during_a_restart_leaves_no_process(
    workers: LocalWorkers, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread has seen that its worker died, and has not restarted it yet."""
    restart = WorkerProcess.restart

    def restart_later(process: WorkerProcess) -> str:
        while not workers._closing:
            time.sleep(0.01)
        time.sleep(0.2)
        return restart(process)

    monkeypatch.setattr(WorkerProcess, "restart", restart_later)
    future = _submit(workers, spec(), "dies")
    time.sleep(0.3)
    workers.close()
    with pytest.raises(RunError, match="the sweep ended"):
        future.result(timeout=10)
    assert not any(_alive(pid) for pid in workers.pids)
