"""Where results come from: the starts of a sweep, its settings, the machines and the time."""

import os
import shlex
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lrbench import __version__
from lrbench.results import TrialResult
from lrbench.spec import Spec

DIRTY = " with uncommitted changes"


class Start(Spec):
    """A start of a sweep: the command, the commit of lrbench with a mark where it was changed, its version, and when (UTC)."""

    command: str
    commit: str
    version: str
    date: str


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to judge and to repeat results. `settings` are those of the sweep's config.yaml; dates are YYYY-MM-DD."""

    starts: list[Start]
    settings: Mapping[str, Any]
    machines: list[str]
    first_date: str
    last_date: str

    @property
    def commits(self) -> list[str]:
        """The commits that the sweep was started from, each once, with a mark where the checkout was changed."""
        return list(dict.fromkeys(start.commit for start in self.starts))


def record_start(folder: Path, command: str) -> None:
    """Add a line to the starts of the sweep in `folder`. A line that a crash cut short stays alone on its own."""
    plain = shlex.join(["python", *shlex.split(command)[1:]])
    date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    line = Start(command=plain, commit=commit(Path(__file__).parent), version=__version__, date=date).model_dump_json()
    path = folder / "starts.jsonl"
    torn = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if torn else "") + line + "\n")
        file.flush()
        os.fsync(file.fileno())


def starts(folder: Path) -> list[Start]:
    """Return the starts of the sweep in `folder`, the first one first, without lines that were cut short."""
    found, path = [], folder / "starts.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            found.append(Start.model_validate_json(line))
        except ValidationError:
            continue
    return found


def of(folder: Path, found: Sequence[TrialResult]) -> Provenance:
    """Return where the results in a sweep's folder come from."""
    path = folder / "config.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    times = [milliseconds for run in found for curve in run.curves.values() for milliseconds in (curve.times[0], curve.times[-1])]
    return Provenance(starts(folder), settings, machines(found), _day(min(times)), _day(max(times)))


def machines(found: Iterable[TrialResult]) -> list[str]:
    """Return the hardware and versions that results were made with, each once."""
    return sorted({_machine(run) for run in found})


def _machine(run: TrialResult) -> str:
    threads = f", {run.spec.train.threads} thread{'' if run.spec.train.threads == 1 else 's'} a run" if run.spec.device == "cpu" else ""
    made = run.environment
    return f"{made['device']} ({run.spec.device}{threads}), torch {made['torch']}, Python {made['python']}, {made['platform']}"


def commit(folder: Path) -> str:
    """Return the commit of the checkout that lrbench runs from, with a mark where it was changed; else its version."""
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")  # and not that of a project with lrbench in its environment
        return _git(folder, "rev-parse", "--short=12", "HEAD") + (DIRTY if _git(folder, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return f"version {__version__}"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, timeout=10, check=True).stdout.strip()


def _day(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(milliseconds / 1000))
