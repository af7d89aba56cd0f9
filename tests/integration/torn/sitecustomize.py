"""Kills a process of lrbench in the middle of a write. tests/integration/chaos.py puts this folder
on the path of real sweeps.

LRBENCH_TEST_KILL is `ACTION PART COUNT MARKER`. The process dies once, at action number COUNT
(`write` or `rename`) on a file whose path contains PART, and creates the file MARKER. A write is
cut short. A renamed file keeps its old name. A worker also kills its coordinator.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

action, part, count, marker = os.environ["LRBENCH_TEST_KILL"].split(" ")
written = 0


def die_at(doing: str, path: str, tear: Callable[[], None]) -> None:
    global written
    if doing != action or part not in path or Path(marker).exists():
        return
    written += 1
    if written < int(count):
        return
    Path(marker).touch()
    tear()
    if b"lrbench.executors.worker" in Path("/proc/self/cmdline").read_bytes():
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def cut_short(file: int) -> None:
    os.ftruncate(file, max(0, os.fstat(file).st_size - 5))


def fsync(file: int, real: Callable[[int], None] = os.fsync) -> None:
    die_at("write", str(Path(f"/proc/self/fd/{file}").readlink()), lambda: cut_short(file))
    real(file)


def replace(old: Any, new: Any, real: Callable[..., None] = os.replace, **named: Any) -> None:
    die_at("rename", os.fspath(new), lambda: None)
    real(old, new, **named)


os.fsync, os.replace = fsync, replace  # type: ignore[assignment]  # what lrbench and Optuna call of them
