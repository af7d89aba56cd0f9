"""A sweep on the user's own executor, which its `_target_` names."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from lrbench.results.files import read_results
from tests.conftest import SMALL, Command

Sweep = Callable[..., "CompletedProcess[str]"]

MODULE = """
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lrbench.executors.executor import RunError
from lrbench.executors.inline import Inline


class Threads:
    def __init__(self, workspace, threads, fails, checkpoint_seconds):
        self._inline = Inline(workspace, checkpoint_seconds=checkpoint_seconds)
        self._pool, self._threads, self._fails = ThreadPoolExecutor(max_workers=threads), threads, fails

    def concurrency(self, device, wanted):
        return self._threads

    def preflight(self, specs, log):
        return self._inline.preflight(specs, log)

    def submit(self, spec, on_progress, monitor):
        with Path("submitted").open("a") as file:
            file.write(spec.key() + "\\n")
        return self._pool.submit(self._train, spec, on_progress, monitor)

    def _train(self, spec, on_progress, monitor):
        if spec.phase == self._fails:
            raise RunError("no memory")
        return self._inline.submit(spec, on_progress, monitor).result()

    def close(self):
        self._pool.shutdown()
        Path("closed").touch()
"""
CONFIG = """
name: threads
_target_: lrbench_test_own.Threads
threads: 1
fails: nothing
checkpoint_seconds: 60.0
"""


@pytest.fixture
def sweep(tmp_path: Path, command: Command, stored: None) -> Sweep:
    """Starts a sweep in the folder of a user with an executor."""
    (tmp_path / "mine" / "executor").mkdir(parents=True)
    (tmp_path / "mine" / "executor" / "threads.yaml").write_text(CONFIG)
    (tmp_path / "lrbench_test_own.py").write_text(MODULE)
    small = ("--config-dir", "mine", "sweep=smoke", "executor=threads", *SMALL)
    return lambda *overrides: command("sweep", *small, *overrides)


def test_a_sweep_runs_on_an_executor_of_the_user(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep("allow=[lrbench_test_own]")
    assert done.returncode == 0, done.stderr
    results = read_results(tmp_path / "runs" / "smoke" / "trials")
    assert len(results) == 8
    assert sorted((tmp_path / "submitted").read_text().split()) == sorted(run.spec.key() for run in results)
    assert (tmp_path / "closed").exists()
    assert "1 at once" in done.stdout
    assert not (tmp_path / "runs" / "smoke" / "logs").exists()


def test_a_sweep_without_a_final_run_keeps_its_search(sweep: Sweep, tmp_path: Path) -> None:
    """In a multirun, the next sweep still runs."""
    done = sweep("name=first,second", "allow=[lrbench_test_own]", "executor.fails=final", "n_trials=1", "-m")
    assert done.returncode == 1, done.stderr
    for name in ("first", "second"):
        results = read_results(tmp_path / "runs" / name / "trials")
        assert [run.spec.phase for run in results] == ["search"] * 2
        assert f"no report: runs/{name}: must have finished final runs" in done.stdout
    assert "4 runs failed without a result. To try again: " in done.stdout


def test_an_executor_of_the_user_must_be_allowed(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep()
    assert done.returncode == 2
    assert "executor._target_=lrbench_test_own.Threads: must start with" in done.stderr
    assert "allow=[" in done.stderr
    assert not (tmp_path / "runs" / "smoke").exists()


def test_an_argument_that_the_executor_does_not_take(sweep: Sweep, tmp_path: Path) -> None:
    config = tmp_path / "mine" / "executor" / "threads.yaml"
    config.write_text(f"{CONFIG}colour: red\n")
    done = sweep("allow=[lrbench_test_own]")
    assert done.returncode == 2
    assert "error: executor=threads: " in done.stderr and "colour" in done.stderr
