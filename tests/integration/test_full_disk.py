"""A full disk gives a clear message and damages nothing.

The sweep resumes if there is room again.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lrbench.results.files import read_results
from tests.builders import without_times
from tests.conftest import SMALL, SWEEP, Command


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB in memory."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", str(tmp_path)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("left", "executor"),
    [(16_000, "inline"), (40_000, "local"), (200_000, "inline")],
    ids=["while it starts", "while it trains", "while it reports"],
)
def test_it_resumes_once_there_is_room(
    small_disk: Path, swept: Path, run_sweep: Command, left: int, executor: str
) -> None:
    free = os.statvfs(small_disk)
    (small_disk / "other").write_bytes(b"\0" * (free.f_bavail * free.f_frsize - left))
    # MLflow's store could take the free space at a random moment, so no store is used.
    # Checkpoints without room are skipped.
    elsewhere = ("tracking.uri=http://127.0.0.1:9", "executor.checkpoint_seconds=0.05")
    done = run_sweep(small_disk, *elsewhere, f"executor={executor}")
    assert done.returncode == 1, done.stdout
    assert done.stderr.startswith("error: no room left on the disk")
    assert "Free some space and repeat the command." in done.stderr
    assert "Traceback" not in done.stderr
    read_results(small_disk / "runs" / "smoke" / "trials")  # each that is there is whole
    assert not list(small_disk.glob("**/*.partial"))
    (small_disk / "other").unlink()
    done = run_sweep(small_disk, *elsewhere, "executor=inline")
    assert done.returncode == 0, done.stderr
    here, there = (
        {run.spec.key(): without_times(run) for run in read_results(folder / "runs" / "smoke" / "trials")}
        for folder in (small_disk, swept)
    )
    assert here == there


def test_a_read_only_disk_is_named(small_disk: Path, command: Command) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = command("sweep", *SMALL, *SWEEP)
    assert (done.returncode, done.stderr) == (
        2,
        "error: out=runs/smoke: must be a writable folder (Read-only file system)\n",
    )
