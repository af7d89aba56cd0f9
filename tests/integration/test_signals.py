"""Sweeps that a signal ends: what is finished is safe, and nothing keeps running."""

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from lrbench.results.files import read_results
from tests.builders import without_times
from tests.conftest import SMALL, SWEEP, Command
from tests.integration import chaos

pytestmark = pytest.mark.usefixtures("stored")  # MLflow takes seconds to create a store


def _two_workers(process: "subprocess.Popen[str]") -> list[int]:
    """Waits until a sweep has its two workers, and returns the numbers of their processes."""
    workers: list[int] = []
    while process.poll() is None and len(workers) < 2:
        time.sleep(0.05)
        workers = chaos.workers(process.pid)
    return workers


def test_a_signal_to_end_is_an_interrupt(tmp_path: Path, run_sweep: Command) -> None:
    """SIGHUP is handled in the same way: see tests/test_signals.py and test_commands.py."""
    command = [sys.executable, "-m", "lrbench.sweep", *SMALL, *SWEEP, "train.epochs=500"]
    heeded = partial(signal.signal, signal.SIGTERM, signal.SIG_DFL)  # nohup would have it ignored
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heeded
    )
    workers = _two_workers(process)
    journal = tmp_path / "runs" / "smoke" / "study.journal"
    while process.poll() is None and not journal.exists():  # so that no import is interrupted
        time.sleep(0.05)
    holder = (tmp_path / "runs" / "smoke" / "sweep.holder").read_text()
    second = run_sweep(tmp_path, "train.epochs=500")
    assert second.returncode == 2
    assert second.stderr.startswith(f"error: runs/smoke: another sweep is writing to this folder ({holder})")
    assert f"process {process.pid} on " in holder
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.startswith("interrupted; the finished runs are safe. To resume: ")) == (
        130,
        True,
    ), errors
    assert time.monotonic() - begun < 10
    assert len(workers) == 2 and not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_workers_end_with_their_coordinator(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lrbench.sweep", *SMALL, *SWEEP, "train.epochs=500"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    workers = _two_workers(process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert process.stderr is not None
    process.stderr.close()


def test_interrupted_and_started_again_it_ends_the_same(swept: Path, tmp_path: Path, run_sweep: Command) -> None:
    command = [sys.executable, "-m", "lrbench.sweep", *SMALL, *SWEEP]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    trials = tmp_path / "runs" / "smoke" / "trials"
    deadline = time.monotonic() + 120
    while len(list(trials.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "To resume:" in errors
    assert 3 <= len(list(trials.glob("*.json"))) < 10
    assert run_sweep(tmp_path, "executor=inline").returncode == 0
    here, there = (
        {run.spec.key(): without_times(run) for run in read_results(folder)}
        for folder in (trials, swept / "runs/smoke/trials")
    )
    assert here == there


def test_interrupted_twice_it_ends_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lrbench.sweep", *SMALL, *SWEEP, "train.epochs=50"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _two_workers(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)  # both are 130 to a shell
    assert time.monotonic() - begun < 10
