"""Large inputs: long tables, a long study that is opened again, and the report of many results."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hydra import initialize_config_module

from lrbench import config, plan, results, schedules
from lrbench.results import Curve, TrialResult
from scripts.benchmarks import overhead, record

STEPS = 1_000_000


def table_seconds(scheduler: str) -> float:
    """Return how long the table of a run of a million steps takes."""
    overrides = [f"scheduler={scheduler}", "data=synthetic", "train.batch_size=2", f"train.epochs={STEPS / 1024}", "device=cpu"]
    spec = config.parse(config.load("config", overrides))
    began = time.perf_counter()
    assert len(schedules.table(spec).lr) == STEPS
    return time.perf_counter() - began


def study_seconds(trials: int, folder: Path) -> tuple[float, float]:
    """Return how long a study of so many trials takes to be opened again, and to ask for one more trial."""
    planned = plan.make(["sweep=smoke", "schedulers=[warmup_cosine]", f"n_trials={trials}", f"out={folder}", "device=cpu"])
    planned.folder.mkdir(parents=True)
    study = planned.studies([])["warmup_cosine"]
    for number in range(trials):
        study.tell(number, min(1.0, float(study.ask(number)["optimizer.lr"])))
    began = time.perf_counter()
    study = planned.studies([])["warmup_cosine"]
    opened = time.perf_counter()
    study.ask(trials)
    return opened - began, time.perf_counter() - opened


def report_seconds(megabytes: float, folder: Path) -> tuple[float, int]:
    """Return how long the report of so much of results takes, and how many runs they are: nine schedulers, curves of 2,500 points."""
    names = plan.make(["sweep=quick", "device=cpu"]).settings.schedulers
    written = runs = 0
    while written < megabytes * 1e6:
        name, trial = names[runs % len(names)], runs // len(names)
        overrides = [f"scheduler={name}", "device=cpu", "train.threads=1", f"phase={'search' if trial % 4 else 'final'}"]
        spec = config.parse(config.load("config", overrides), {}, trial=trial if trial % 4 else 1).settled(overhead.MACHINE)
        path = results.write(folder / "trials", _long(overhead.simulated(spec.model_copy(update={"seed": trial}))))
        written, runs = written + path.stat().st_size, runs + 1
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lrbench.report", str(folder)], check=True, capture_output=True)
    return time.perf_counter() - began, runs


def _long(run: TrialResult) -> TrialResult:
    steps = list(range(results.MAX_POINTS))
    rates = Curve(steps=steps, values=[0.1 + step / 7e3 for step in steps], times=run.curves["val/loss"].times[:1] * len(steps))
    return run.model_copy(update={"curves": {**run.curves, "lr": rates, "train/loss": rates}})


def main() -> None:
    """Measure each once."""
    parser = argparse.ArgumentParser(prog="scripts/bench large", description=main.__doc__)
    parser.add_argument("--trials", type=int, default=5000, help="of the study (5000)")
    parser.add_argument("--megabytes", type=float, default=200, help="of results (200)")
    chosen = parser.parse_args()
    plan.register_sweeps()
    with initialize_config_module("lrbench.conf", version_base="1.3"), tempfile.TemporaryDirectory() as folder:
        tables = {name: round(table_seconds(name), 2) for name in ("rex", "cosine", "one_cycle", "sequential")}
        print(f"s for a table of {STEPS} steps: {tables}", flush=True)
        opened, asked = study_seconds(chosen.trials, Path(folder) / "study")
        print(f"s to open a study of {chosen.trials} trials: {opened:.2f}, to ask it: {asked:.3f}", flush=True)
        reported, runs = report_seconds(chosen.megabytes, Path(folder) / "report")
        print(f"s for the report of {chosen.megabytes:g} MB, {runs} runs: {reported:.1f}", flush=True)
    study = {"trials": chosen.trials, "s to open it": round(opened, 2), "s to ask it": round(asked, 3)}
    report = {"MB": chosen.megabytes, "runs": runs, "s": round(reported, 1)}
    record.keep("large", {f"s for a table of {STEPS} steps": tables, "study": study, "report": report})


if __name__ == "__main__":
    main()
