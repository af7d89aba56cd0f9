"""Large inputs: long tables, a long study, and the report of many results."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hydra import initialize_config_module

from lrbench.config.compose import load_config, parse_spec
from lrbench.config.sweep_files import register_sweeps
from lrbench.orchestration.plan import make_plan
from lrbench.results.files import write_result
from lrbench.results.result import MAX_POINTS, Curve, TrialResult
from lrbench.schedules.table import schedule_table
from scripts.benchmarks import overhead, record

STEPS = 1_000_000


def table_seconds(scheduler: str) -> float:
    """Return the time that the table of a run of a million steps takes."""
    length = ["train.batch_size=2", f"train.epochs={STEPS / 1024}"]
    spec = parse_spec(load_config("config", [f"scheduler={scheduler}", "data=synthetic", "device=cpu", *length]))
    started = time.perf_counter()
    assert len(schedule_table(spec).lr) == STEPS
    return time.perf_counter() - started


def study_seconds(trials: int, folder: Path) -> tuple[float, float]:
    """Return the times to open a study with so many trials, and to ask it for one more."""
    overrides = ["sweep=smoke", "schedulers=[warmup_cosine]", f"n_trials={trials}", f"out={folder}", "device=cpu"]
    plan = make_plan(overrides)
    plan.folder.mkdir(parents=True)
    study = plan.studies([])["warmup_cosine"]
    for number in range(trials):
        study.tell(number, min(1.0, float(study.ask(number)["optimizer.lr"])))
    started = time.perf_counter()
    study = plan.studies([])["warmup_cosine"]
    opened = time.perf_counter()
    study.ask(trials)
    return opened - started, time.perf_counter() - opened


def report_seconds(megabytes: float, folder: Path) -> tuple[float, int]:
    """Return the time of a report of so many results, and the number of their runs.

    The runs belong to nine schedulers, and have curves of 2,500 points.
    """
    names = make_plan(["sweep=quick", "device=cpu"]).settings.schedulers
    size = runs = 0
    while size < megabytes * 1e6:
        name, trial = names[runs % len(names)], runs // len(names)
        phase = "search" if trial % 4 else "final"
        overrides = [f"scheduler={name}", "device=cpu", "train.threads=1", f"phase={phase}"]
        spec = parse_spec(load_config("config", overrides), trial=trial if trial % 4 else 1, seed=trial)
        path = write_result(folder / "trials", _with_long_curves(overhead.simulated(spec.resolved(overhead.DEVICE))))
        size, runs = size + path.stat().st_size, runs + 1
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lrbench.report", str(folder)], check=True, capture_output=True)
    return time.perf_counter() - started, runs


def _with_long_curves(run: TrialResult) -> TrialResult:
    steps = list(range(MAX_POINTS))
    times = run.curves["val/loss"].times[:1] * len(steps)
    curve = Curve(steps=steps, values=[0.1 + step / 7e3 for step in steps], times=times)
    return run.model_copy(update={"curves": {**run.curves, "lr": curve, "train/loss": curve}})


def main() -> None:
    """Measure long tables, a long study and a large report, each once."""
    parser = argparse.ArgumentParser(prog="scripts/bench large", description=main.__doc__)
    parser.add_argument("--trials", type=int, default=5000, help="trials of the study (5000)")
    parser.add_argument("--megabytes", type=float, default=200, help="size of the results (200)")
    arguments = parser.parse_args()
    register_sweeps()
    with initialize_config_module("lrbench.conf", version_base="1.3"), tempfile.TemporaryDirectory() as folder:
        tables = {name: round(table_seconds(name), 2) for name in ("rex", "cosine", "one_cycle", "sequential")}
        print(f"s for a table of {STEPS} steps: {tables}", flush=True)
        opened, asked = study_seconds(arguments.trials, Path(folder) / "study")
        print(f"s to open a study of {arguments.trials} trials: {opened:.2f}, to ask it: {asked:.3f}", flush=True)
        reported, runs = report_seconds(arguments.megabytes, Path(folder) / "report")
        print(f"s for the report of {arguments.megabytes:g} MB, {runs} runs: {reported:.1f}", flush=True)
    study = {"trials": arguments.trials, "s to open it": round(opened, 2), "s to ask it": round(asked, 3)}
    report = {"MB": arguments.megabytes, "runs": runs, "s": round(reported, 1)}
    record.keep("large", {f"s for a table of {STEPS} steps": tables, "study": study, "report": report})


if __name__ == "__main__":
    main()
