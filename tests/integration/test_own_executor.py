"""A sweep on the user's own executor, which its `_target_` names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrbench.results.files import read_results

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
def own_executor(tmp_path: Path) -> Path:
    """The folder of a user with an executor."""
    (tmp_path / "mine" / "executor").mkdir(parents=True)
    (tmp_path / "mine" / "executor" / "threads.yaml").write_text(CONFIG)
    (tmp_path / "lrbench_test_own.py").write_text(MODULE)
    return tmp_path


def _sweep(folder: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "lrbench.sweep", "--config-dir", "mine", "sweep=smoke", "executor=threads", *overrides],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_a_sweep_runs_on_an_executor_of_the_user(own_executor: Path) -> None:
    sweep = _sweep(own_executor, "allow=[lrbench_test_own]", "device=cpu")
    assert sweep.returncode == 0, sweep.stderr
    results = read_results(own_executor / "runs" / "smoke" / "trials")
    assert len(results) == 8
    assert sorted((own_executor / "submitted").read_text().split()) == sorted(run.spec.key() for run in results)
    assert (own_executor / "closed").exists()
    assert "1 at once" in sweep.stdout
    assert not (own_executor / "runs" / "smoke" / "logs").exists()


def test_a_sweep_without_a_final_run_keeps_its_search(own_executor: Path) -> None:
    sweep = _sweep(own_executor, "allow=[lrbench_test_own]", "device=cpu", "executor.fails=final")
    assert sweep.returncode == 1, sweep.stderr
    results = read_results(own_executor / "runs" / "smoke" / "trials")
    assert [run.spec.phase for run in results] == ["search"] * 4
    assert "no report: runs/smoke: no finished final runs" in sweep.stdout
    assert "4 runs failed and have no results. To try them again: " in sweep.stdout


def test_an_executor_of_the_user_must_be_allowed(own_executor: Path) -> None:
    sweep = _sweep(own_executor)
    assert sweep.returncode == 2
    assert "executor._target_=lrbench_test_own.Threads: must start with" in sweep.stderr
    assert "allow=[" in sweep.stderr
    assert not (own_executor / "runs").exists()


def test_an_argument_that_the_executor_does_not_take(own_executor: Path) -> None:
    config = own_executor / "mine" / "executor" / "threads.yaml"
    config.write_text(f"{CONFIG}colour: red\n")
    sweep = _sweep(own_executor, "allow=[lrbench_test_own]")
    assert sweep.returncode == 2
    assert "error: executor=threads: " in sweep.stderr and "colour" in sweep.stderr
