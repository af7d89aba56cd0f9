"""Kills real sweeps, and compares their results with an undisturbed sweep: `scripts/chaos 10`.

Coordinators and workers are killed at random moments, by several signals. Two more sweeps are
killed in the middle of each kind of write. After each kill the same command starts again. A sweep
must end with the same runs, trials, report and MLflow runs as the undisturbed sweep. It must not
train a finished run twice.
"""

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrbench.results.files import read_results
from tests.builders import without_times
from tests.integration import stores

SWEEP = (
    "sweep=smoke", "schedulers=[cosine,plateau]", "searches=2", "n_trials=2", "confirm=2", "final_seeds=1",
    "train.epochs=4", "train.threads=1",
    "executor.workers=2", "executor.checkpoint_seconds=0.1", "device=cpu", "data=synthetic", "data.images=1344",
    "data.holdout_images=64", "train.batch_size=32",
)  # fmt: skip
ONE_WORKER = "executor.workers=1"  # a worker takes seconds to start; only random kills need two
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV, signal.SIGABRT)
# What a sweep writes, by its name: the action, a part of the path, and how often at least.
NEW_STORE = {"MLflow's store, new": ("exists", "runs/.mlflow/mlflow.db-journal", 1)}  # its moment is random
WRITES = {
    "the configuration": ("write", "/smoke/config.yaml", 1),
    "the starts": ("write", "/starts.jsonl", 1),
    "the journal": ("write", "/study.journal", 20),
    "a checkpoint": ("write", "/checkpoints/", 3),
    "a checkpoint's name": ("rename", "/checkpoints/", 3),
    "a result": ("write", "/trials/", 1),
    "a result's name": ("rename", "/trials/", 1),
    "MLflow's store": ("exists", "runs/mlflow.db-journal", 1),
    "a picture": ("write", "/pictures/", 6),
    "results.jsonl": ("write", "/results.jsonl", 1),
    "results.csv": ("write", "/results.csv", 1),
    "report.md": ("write", "/report.md", 1),
    "report.html": ("write", "/report.html", 1),
}
# Files that a kill, or another number of workers, may add.
MAY_DIFFER = {"study.journal.before", ".mlflow.lock", "worker-0.log", "worker-1.log"}
TIMES = ("train_seconds", "eval_seconds")  # columns of results.csv that differ


@dataclass
class Outcome:
    """Counts of sweeps, kills by kind and compared results; and each difference in words."""

    sweeps: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    results: int = 0
    losses: list[str] = field(default_factory=list)


class Chaos:
    """Disturbs sweeps in a folder, and compares each with an undisturbed sweep."""

    def __init__(self, folder: Path, seed: int, store: Path | None = None) -> None:
        self.outcome = Outcome()
        self._folder, self._chance, self._store = folder, random.Random(seed), store
        _finish(self._start(folder / "undisturbed", ONE_WORKER))
        self._whole = _what_is_left(folder / "undisturbed")

    def disturb(self, kills: int) -> None:
        """Kill a sweep at random moments, start it again each time, and compare."""
        folder = self._folder / f"disturbed-{self.outcome.sweeps}"
        finished: dict[str, bytes] = {}
        process = self._start(folder)
        for _ in range(kills):
            if process.poll() is not None:
                process = self._start(folder)
            self.outcome.kills[self._kill(process, folder)] += 1
            self._keep(finished, folder)
        self._compare(process, folder, finished)

    def tear(self, writes: Mapping[str, tuple[str, str, int]], *, new_store: bool = False) -> None:
        """Kill a sweep in the middle of each of these writes, and compare.

        `new_store` lets it create MLflow's store.
        """
        self._store = None if new_store else self._store
        folder = self._folder / f"torn-{self.outcome.sweeps}"
        finished: dict[str, bytes] = {}
        for number, (name, (action, part, most)) in enumerate(writes.items()):
            marker = self._folder / f"{folder.name}-{number}"
            at_write = f"{action} {part} {self._chance.randint(1, most)} {marker}"
            process = self._start(folder, ONE_WORKER, at_write=at_write)
            if action == "exists":
                _kill_when_there(process, folder / part, marker)
            _, errors = process.communicate(timeout=280)
            self.outcome.kills[f"writing {name}"] += marker.exists()
            if not marker.exists():
                self.outcome.losses.append(
                    f"{folder.name}: {name} was not written, exit code {process.returncode}\n{errors}"
                )
            self._keep(finished, folder)
        self._compare(process, folder, finished)

    def _start(self, folder: Path, *overrides: str, at_write: str = "") -> "subprocess.Popen[str]":
        """Start the sweep in a folder. The overrides must not change its results.

        `store` is copied into a folder without a store of MLflow.
        """
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        if self._store and not (folder / "runs" / "mlflow.db").exists():
            shutil.copy(self._store, folder / "runs" / "mlflow.db")
        torn = {"PYTHONPATH": str(Path(__file__).parent / "torn"), "LRBENCH_TEST_KILL": at_write} if at_write else {}
        return subprocess.Popen(
            [sys.executable, "-m", "lrbench.sweep", *SWEEP, *overrides],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, **torn},
        )

    def _keep(self, finished: dict[str, bytes], folder: Path) -> None:
        for path in _trials(folder).glob("*.json"):
            if finished.setdefault(path.name, path.read_bytes()) != path.read_bytes():
                self.outcome.losses.append(f"{folder.name}: {path.name} was trained twice")

    def _compare(self, process: "subprocess.Popen[str]", folder: Path, finished: dict[str, bytes]) -> None:
        _finish(process if process.poll() is None else self._start(folder, ONE_WORKER))
        self._keep(finished, folder)
        self.outcome.sweeps += 1
        left = _what_is_left(folder)
        self.outcome.results += len(left["runs"])
        self.outcome.losses += [
            f"{folder.name}: {part} differ" for part in self._whole if left[part] != self._whole[part]
        ]

    def _kill(self, process: "subprocess.Popen[str]", folder: Path) -> str:
        """Kill the coordinator, or one of its workers, at a random moment. Return both names."""
        chance, known, begun = self._chance, len(list(_trials(folder).glob("*.json"))), time.monotonic()
        if chance.random() < 0.7:  # mostly during training; a uniform draw would mostly hit the start
            while (
                process.poll() is None
                and len(list(_trials(folder).glob("*.json"))) == known
                and time.monotonic() - begun < 60
            ):
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 1.0))
        else:
            time.sleep(chance.uniform(0, 4.0))
        if chance.random() < 0.3 and (alive := workers(process.pid)):
            number = chance.choice([signal.SIGKILL, signal.SIGSEGV])
            with suppress(ProcessLookupError):
                os.kill(chance.choice(alive), number)
            return f"a worker by {number.name}"
        number = chance.choice(SIGNALS)
        process.send_signal(number)
        process.communicate(timeout=60)
        return f"the coordinator by {number.name}"


def _kill_when_there(process: "subprocess.Popen[str]", path: Path, marker: Path) -> None:
    while process.poll() is None:
        if path.exists():
            process.kill()
            marker.touch()


def _finish(process: "subprocess.Popen[str]") -> None:
    _, errors = process.communicate(timeout=280)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}\n{errors}")


def workers(coordinator: int) -> list[int]:
    """Return the process ids of a sweep's workers."""
    found = []
    for path in Path(f"/proc/{coordinator}/task").glob("*/children"):
        with suppress(OSError):  # it has ended
            found += [
                child
                for child in path.read_text().split()
                if b"lrbench.executors.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
            ]
    return sorted(map(int, found))


def _trials(folder: Path) -> Path:
    return folder / "runs" / "smoke" / "trials"


def _what_is_left(folder: Path) -> dict[str, Any]:
    """Return the contents of a sweep's folder, without times and dates."""
    sweep = folder / "runs" / "smoke"
    found = read_results(_trials(folder))
    with (sweep / "results.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]
    return {
        "runs": {run.spec.key(): without_times(run) for run in found},
        "trials of the studies": stores.studies(sweep / "study.journal"),
        "rows of results.csv": rows,
        "ranking in the report": [
            line for line in (sweep / "report.md").read_text().splitlines() if line.startswith("| ")
        ][:4],
        "runs in MLflow": stores.published(f"sqlite:///{folder / 'runs' / 'mlflow.db'}"),
        "checkpoints": [path.name for path in (sweep / "checkpoints").glob("*")],
        "files": sorted({path.name for path in folder.rglob("*") if path.is_file()} - MAY_DIFFER),
    }


def main() -> None:
    """Run the chaos that the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("sweeps", type=int, help="sweeps to disturb")
    parser.add_argument("--kills", type=int, default=4, help="kills of each (4)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (0)")
    parser.add_argument(
        "--writes", action="store_true", help="also kill two sweeps in the middle of each kind of write"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = Chaos(Path(folder), chosen.seed)
        for _ in range(chosen.sweeps):
            made.disturb(chosen.kills)
        if chosen.writes:
            made.tear(WRITES)
            made.tear(NEW_STORE, new_store=True)
    outcome = made.outcome
    kills = ", ".join(f"{count} {what}" for what, count in sorted(outcome.kills.items()))
    counts = f"{outcome.results} results compared, {len(outcome.losses)} losses"
    print(f"{outcome.sweeps} sweeps, {outcome.kills.total()} kills ({kills}), {counts}")
    print("\n".join(outcome.losses))
    sys.exit(bool(outcome.losses))


if __name__ == "__main__":
    main()
