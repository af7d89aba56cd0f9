"""The provenance of results: starts, settings, hardware, versions and dates of a sweep."""

import os
import shlex
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lrbench import __version__
from lrbench.results.result import TrialResult
from lrbench.spec import PlainData
from lrbench.text import counted

DIRTY = " with uncommitted changes"


class Start(PlainData):
    """A start of a sweep: its command, the commit and version of lrbench, and the time (UTC).

    The commit ends with DIRTY if the checkout had uncommitted changes.
    """

    command: str
    commit: str
    version: str
    date: str


@dataclass(frozen=True)
class Provenance:
    """The facts that a reader needs to judge and to repeat results.

    `settings` is the sweep's config.yaml. `hardware` has a text for each machine, with versions.
    Dates are YYYY-MM-DD.
    """

    starts: list[Start]
    settings: Mapping[str, Any]
    hardware: list[str]
    first_date: str
    last_date: str

    @property
    def commits(self) -> list[str]:
        """The commits from which the sweep was started, each once."""
        return list(dict.fromkeys(start.commit for start in self.starts))


def record_start(folder: Path, command: str) -> None:
    """Append a start to starts.jsonl, on its own line even if a crash cut the last one short."""
    start = Start(
        command=shlex.join(["python", *shlex.split(command)[1:]]),
        commit=commit(Path(__file__).parent),
        version=__version__,
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    path = folder / "starts.jsonl"
    is_torn = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if is_torn else "") + start.model_dump_json() + "\n")
        file.flush()
        os.fsync(file.fileno())


def starts(folder: Path) -> list[Start]:
    """Return the starts of the sweep in `folder`, in their order, without lines cut short."""
    path = folder / "starts.jsonl"
    if not path.exists():
        return []
    complete = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValidationError):
            complete.append(Start.model_validate_json(line))
    return complete


def provenance_of(folder: Path, results: Sequence[TrialResult]) -> Provenance:
    """Return the provenance of the results in a sweep's folder."""
    first = min(curve.times[0] for run in results for curve in run.curves.values())
    last = max(curve.times[-1] for run in results for curve in run.curves.values())
    return Provenance(starts(folder), settings_of(folder), hardware(results), _day(first), _day(last))


def settings_of(folder: Path) -> dict[str, Any]:
    """Return the config.yaml of a sweep's folder. It is empty without that file."""
    path = folder / "config.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def hardware(results: Iterable[TrialResult]) -> list[str]:
    """Return the hardware and versions of the results as text, each once."""
    return sorted({_hardware_of(run) for run in results})


def _hardware_of(run: TrialResult) -> str:
    device, environment = run.spec.device, run.environment
    if device == "cpu":
        device += f", {counted(int(run.spec.train.threads), 'thread')} per run"
    if "step" in environment:
        device += f", {environment['step']}"
    versions = f"torch {environment['torch']}, Python {environment['python']}, {environment['platform']}"
    return f"{environment['device']} ({device}), {versions}"


def commit(folder: Path) -> str:
    """Return the commit of the checkout of lrbench, with DIRTY for uncommitted changes.

    If `folder` is not in a checkout of lrbench, return its version.
    """
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")  # fails inside another project's checkout
        is_dirty = bool(_git(folder, "status", "--porcelain"))
        return _git(folder, "rev-parse", "--short=12", "HEAD") + (DIRTY if is_dirty else "")
    except (OSError, subprocess.SubprocessError):
        return f"version {__version__}"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def _day(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(milliseconds / 1000))
