"""Kills real sweeps at random moments and compares what comes of them with an undisturbed one: `scripts/chaos 10`.

A sweep is started again after each kill, with the same command. It must end with the same runs, trials, report and MLflow runs,
and must not have trained a finished run twice.
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lrbench import results

SWEEP = (
    "sweep=smoke", "schedulers=[cosine,plateau]", "n_trials=3", "final_seeds=2", "executor.workers=2", "executor.checkpoint_seconds=0.1",
    "device=cpu", "data=synthetic", "data.images=1344", "data.holdout_images=64", "train.batch_size=32", "train.threads=1",
    "train.epochs=8",
)  # fmt: skip
TIMES = ("train_seconds", "eval_seconds")  # columns of results.csv that differ


@dataclass
class Outcome:
    """What happened to the sweeps: kills by what was killed, and everything that was not as it should be."""

    sweeps: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    results: int = 0
    losses: list[str] = field(default_factory=list)


def chaos(sweeps: int, kills_of_each: int, seed: int, folder: Path) -> Outcome:
    """Run an undisturbed sweep and so many disturbed ones in `folder`, and compare."""
    outcome, chance = Outcome(), random.Random(seed)
    undisturbed = folder / "undisturbed"
    _finish(_start(undisturbed), undisturbed)
    whole = _what_is_left(undisturbed)
    for number in range(sweeps):
        disturbed = folder / f"disturbed-{number}"
        finished: dict[str, bytes] = {}
        for _ in range(kills_of_each):
            outcome.kills[_kill(_start(disturbed), disturbed, chance)] += 1
            for path in _trials(disturbed).glob("*.json"):
                if finished.setdefault(path.name, path.read_bytes()) != path.read_bytes():
                    outcome.losses.append(f"{disturbed.name}: {path.name} was trained twice")
        _finish(_start(disturbed), disturbed)
        outcome.sweeps += 1
        left = _what_is_left(disturbed)
        outcome.results += len(left["runs"])
        outcome.losses += [f"{disturbed.name}: {part} differ" for part in whole if left[part] != whole[part]]
        outcome.losses += [
            f"{disturbed.name}: {name} was trained again"
            for name, text in finished.items()
            if (_trials(disturbed) / name).read_bytes() != text
        ]
    return outcome


def _start(folder: Path) -> "subprocess.Popen[str]":
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "lrbench.sweep", *SWEEP],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _finish(process: "subprocess.Popen[str]", folder: Path) -> None:
    _, errors = process.communicate(timeout=280)
    if process.returncode:
        raise RuntimeError(f"{folder.name}: exit code {process.returncode}\n{errors}")


def _kill(process: "subprocess.Popen[str]", folder: Path, chance: random.Random) -> str:
    """Kill the coordinator, or a worker and then the coordinator, at a random moment; return which."""
    known = len(list(_trials(folder).glob("*.json")))
    begun = time.monotonic()
    if chance.random() < 0.7:  # not while it starts, as most moments are
        while process.poll() is None and len(list(_trials(folder).glob("*.json"))) == known and time.monotonic() - begun < 60:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 1.0))
    else:
        time.sleep(chance.uniform(0, 4.0))
    what = "coordinator"
    if chance.random() < 0.4 and (workers := list(_children(process.pid))):
        os.kill(chance.choice(workers), signal.SIGKILL)
        what = "worker and coordinator"
        time.sleep(chance.uniform(0, 0.5))
    process.kill()
    process.communicate(timeout=60)
    return what


def _children(parent: int) -> Iterator[int]:
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        yield from map(int, path.read_text().split())


def _trials(folder: Path) -> Path:
    return folder / "runs" / "smoke" / "trials"


def _what_is_left(folder: Path) -> dict[str, Any]:
    """Return what a sweep left, without times and dates."""
    sweep = folder / "runs" / "smoke"
    found = results.read_all(_trials(folder))
    with (sweep / "results.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if name not in TIMES} for row in csv.DictReader(file)]
    return {
        "runs": {run.spec.key(): run.without_times() for run in found},
        "trials of the studies": _studies(sweep / "study.journal"),
        "rows of results.csv": rows,
        "ranking in the report": [line for line in (sweep / "report.md").read_text().splitlines() if line.startswith("| ")][:4],
        "runs in MLflow": _mlflow(folder / "runs" / "mlflow.db"),
        "checkpoints": [path.name for path in (sweep / "checkpoints").glob("*")],
    }


def _studies(journal: Path) -> Any:
    code = """
import json, sys, optuna
from optuna.storages.journal import JournalFileBackend
optuna.logging.set_verbosity(optuna.logging.WARNING)
storage = optuna.storages.JournalStorage(JournalFileBackend(sys.argv[1]))
studies = {study.study_name: study._study_id for study in storage.get_all_studies()}
print(json.dumps({name: [(trial.state.name, trial.params, trial.value) for trial in storage.get_all_trials(number)]
                  for name, number in sorted(studies.items())}))
"""
    return _told(code, str(journal))


def _mlflow(store: Path) -> Any:
    code = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri="sqlite:///" + sys.argv[1])
experiment = client.get_experiment_by_name("smoke").experiment_id
runs = [(run.data.tags.get("lrbench.key"), run.info.status, {name: [(point.step, point.value)
         for point in client.get_metric_history(run.info.run_id, name)] for name in sorted(run.data.metrics)})
        for run in client.search_runs([experiment])]
print(json.dumps(sorted(runs, key=lambda run: str(run[0]))))
"""
    return _told(code, str(store))


def _told(code: str, path: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, env={**os.environ, "DO_NOT_TRACK": "1"}
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Run the chaos that the command line asks for."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("sweeps", type=int, help="sweeps to disturb")
    parser.add_argument("--kills", type=int, default=4, help="kills of each (4)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments (0)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = chaos(chosen.sweeps, chosen.kills, chosen.seed, Path(folder))
    kills = ", ".join(f"{count} of the {what}" for what, count in sorted(outcome.kills.items()))
    counts = f"{outcome.results} results compared, {len(outcome.losses)} losses"
    print(f"{outcome.sweeps} sweeps, {outcome.kills.total()} kills ({kills}), {counts}")
    print("\n".join(outcome.losses))
    sys.exit(bool(outcome.losses))


if __name__ == "__main__":
    main()
