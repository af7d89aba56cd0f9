"""What a run leaves: plain data, written atomically, one file a run."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from lrbench.spec import ConfigError, Spec, TrialSpec

CHANCE_ACCURACY = 0.1
MAX_POINTS = 2500  # a curve; MLflow's server returns no more


Points = dict[str, list[tuple[int, float, int]]]  # of a run's metrics as they grow: step, value, milliseconds since 1970


class Curve(Spec):
    """A metric by optimizer step. `times` are milliseconds since 1970, kept so that publishing twice adds nothing."""

    steps: list[int]
    values: list[float]
    times: list[int]


class TrialResult(Spec):
    """One training run: its curves (`lr`, `train/loss`, `val/loss`, `val/accuracy`, `test/accuracy`) and what it took."""

    spec: TrialSpec
    state: Literal["finished", "diverged", "failed", "pruned"]
    reason: str
    curves: dict[str, Curve]
    train_seconds: float
    eval_seconds: float
    environment: dict[str, str]

    def last(self, metric: str) -> float:
        """Return the last value of a metric; chance accuracy for a run that diverged or never came to it."""
        curve = self.curves.get(metric)
        if self.state != "finished" or curve is None:
            return CHANCE_ACCURACY if metric.endswith("accuracy") else float("nan")
        return curve.values[-1]

    def without_times(self) -> dict[str, object]:
        """Return what another run of the same spec on the same kind of CPU must repeat bit by bit."""
        curves = {name: (curve.steps, curve.values) for name, curve in self.curves.items()}
        return {"spec": self.spec, "state": self.state, "reason": self.reason, "curves": curves}


def thinned(points: int) -> list[int]:
    """Return the indices of at most MAX_POINTS of so many points, the first and the last among them.

    >>> thinned(4), len(thinned(1_000_000)), thinned(1_000_000)[-1]
    ([0, 1, 2, 3], 2500, 999999)
    """
    if points <= MAX_POINTS:
        return list(range(points))
    return [round(index * (points - 1) / (MAX_POINTS - 1)) for index in range(MAX_POINTS)]


def write(folder: Path, result: TrialResult) -> Path:
    """Write a result to its own file in `folder`, whole or not at all."""
    path = folder / f"{result.spec.key()}.json"
    write_text(path, result.model_dump_json(by_alias=True))
    return path


def write_text(path: Path, text: str) -> None:
    """Write a file as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that whoever looks finds the old one or the new one, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial(path).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial(path).replace(path)
    except OSError as error:
        with suppress(OSError):
            partial(path).unlink(missing_ok=True)  # where the disk is full, it takes the last room
        raise OSError(error.errno, error.strerror, str(path)) from error


def partial(path: Path) -> Path:
    """Return the name that a file has until it is written."""
    return path.with_name(f"{path.name}.partial")


@contextmanager
def folder_for_runs(folder: Path) -> Iterator[None]:
    """Make a folder; where a ConfigError ends its use, nothing new is left. Raises ConfigError if it cannot be written into."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"out={folder}: cannot be written into ({error.strerror})") from error
    try:
        yield
    except ConfigError:
        if new:
            shutil.rmtree(new[-1])
        raise


def read(path: Path) -> TrialResult:
    """Return the result in a file. Raises ConfigError where it is none."""
    try:
        return TrialResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{path} is no result of this version of lrbench: {where} {first['msg']}. Move it away to go on.") from error


def read_all(folder: Path) -> list[TrialResult]:
    """Return the results in a folder, in the order of their file names."""
    return [read(path) for path in sorted(folder.glob("*.json"))]


def write_lines(path: Path, results: Iterable[TrialResult]) -> None:
    """Write results as JSON lines, without their curves but with their last values, and all of the test accuracy."""
    write_text(path, "".join(f"{_line(result)}\n" for result in results))


def _line(result: TrialResult) -> str:
    last = {name: Curve(steps=curve.steps[-1:], values=curve.values[-1:], times=curve.times[-1:]) for name, curve in result.curves.items()}
    test = {name: curve for name, curve in result.curves.items() if name == "test/accuracy"}
    return result.model_copy(update={"curves": last | test}).model_dump_json(by_alias=True)


def read_lines(path: Path) -> list[TrialResult]:
    """Return the results in a file of JSON lines; their curves are their last values."""
    return [TrialResult.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def of_phase(results: Sequence[TrialResult], scheduler: str, phase: str) -> list[TrialResult]:
    """Return the runs of one scheduler in one phase, search or final, in the order of trial and seed."""
    mine = [result for result in results if (result.spec.scheduler.name, result.spec.phase) == (scheduler, phase)]
    return sorted(mine, key=lambda result: (result.spec.trial or 0, result.spec.seed))


def trial_scores(search: Iterable[TrialResult]) -> dict[int, float]:
    """Return the score of each trial of a scheduler's search, by its number: the mean over its runs of their last validation accuracy.

    A run that diverged counts with chance accuracy; a trial of which a run was pruned has no score.
    """
    runs: dict[int, list[TrialResult]] = {}
    for run in search:
        runs.setdefault(run.spec.trial or 0, []).append(run)
    return {
        trial: sum(run.last("val/accuracy") for run in runs[trial]) / len(runs[trial])
        for trial in sorted(runs)
        if all(run.state != "pruned" for run in runs[trial])
    }


def chosen_trial(search: Iterable[TrialResult]) -> int | None:
    """Return the trial of a scheduler's search that its final runs repeat: the one with the highest score, the first of several."""
    scores = trial_scores(search)
    return max(scores, key=lambda trial: scores[trial], default=None)
