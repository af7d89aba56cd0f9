"""The cost of a run besides its training: Optuna, the results, MLflow and the coordinator.

The runs are simulated.
"""

import argparse
import queue
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from hydra import initialize_config_module
from rich.console import Console

from lrbench.config.compose import load_config
from lrbench.config.sweep_files import register_sweeps
from lrbench.executors.executor import MonitorFactory, OnProgress
from lrbench.orchestration.pipeline import make_pipelines
from lrbench.orchestration.plan import make_plan
from lrbench.orchestration.progress import ProgressBoard
from lrbench.orchestration.run_events import RunEvents
from lrbench.orchestration.runner import train_all
from lrbench.results.files import read_results
from lrbench.results.result import Curve, TrialResult
from lrbench.spec import DeviceInfo, TrialSpec
from lrbench.text import Log
from lrbench.tracking.publisher import Publisher
from scripts.benchmarks import record

DEVICE = DeviceInfo(device="cpu", gpus=0, cores=2, bfloat16=False)
STEPS = 156  # of a run of the sweep quick


class Simulated:
    """An executor with two workers that wait for some seconds instead of training."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._jobs: queue.SimpleQueue[tuple[TrialSpec, Future[TrialResult]]] = queue.SimpleQueue()
        for _ in range(self.concurrency(DEVICE, DEVICE.device)):
            threading.Thread(target=self._work, daemon=True).start()

    def concurrency(self, device: DeviceInfo, wanted: str) -> int:
        """Return 2."""
        return 2

    def preflight(self, specs: Sequence[TrialSpec], log: Log) -> DeviceInfo:
        """Return a device with two cores."""
        return DEVICE

    def submit(self, spec: TrialSpec, on_progress: OnProgress, monitor: MonitorFactory) -> Future[TrialResult]:
        """Return a future of a simulated result. There is no progress, and no run is pruned."""
        future: Future[TrialResult] = Future()
        self._jobs.put((spec, future))
        return future

    def close(self) -> None:
        """Do nothing: the threads end with the process."""

    def _work(self) -> None:
        while True:
            spec, future = self._jobs.get()
            time.sleep(self._seconds)
            future.set_result(simulated(spec))


def simulated(spec: TrialSpec) -> TrialResult:
    """Return a result with an accuracy that depends on the rate.

    Its curves have the lengths of a run of the sweep quick.
    """
    now = round(time.time() * 1000)
    accuracy = max(0.1, 0.7 - (spec.optimizer.lr - 0.4) ** 2)
    loss = Curve(steps=list(range(2, STEPS + 1, 2)), values=[2.0] * (STEPS // 2), times=[now] * (STEPS // 2))
    rates = Curve(steps=list(range(STEPS)), values=[spec.optimizer.lr] * STEPS, times=[now] * STEPS)
    scores = Curve(steps=[STEPS // 2, STEPS], values=[accuracy, accuracy], times=[now, now])
    curves = {"lr": rates, "train/loss": loss, "val/loss": scores, "val/accuracy": scores}
    if spec.is_scored_on_test:
        curves |= {"test/loss": scores, "test/accuracy": scores}
    return TrialResult(
        spec=spec,
        state="finished",
        reason="",
        curves=curves,
        train_seconds=1.0,
        eval_seconds=0.0,
        environment={"device": "simulated", "torch": "", "python": "", "platform": ""},
    )


def measure(trials: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Return the cost of a run in a sweep of one scheduler, whose runs take `seconds` each."""
    overrides = ["sweep=smoke", "schedulers=[warmup_cosine]", f"n_trials={trials}", "final_seeds=2"]
    plan = make_plan([*overrides, f"out={folder}", "device=cpu"])
    plan.folder.mkdir(parents=True)
    executor, studies = Simulated(seconds), plan.studies([])
    concurrency = executor.concurrency(DEVICE, DEVICE.device)
    pipelines = make_pipelines(plan, DEVICE, concurrency, studies)
    board = ProgressBoard(Console(quiet=True), plan.runs, plan.steps)
    with Publisher(folder, None, plan.settings.name) as publisher:
        publisher.publish_report(plan.folder)  # opens the store, which takes seconds once and not for each trial
        while publisher.waiting:
            time.sleep(0.01)
        started, cpu_started = time.perf_counter(), time.process_time()
        train_all(pipelines, executor, {}, plan.trials, RunEvents(board, publisher))
        trained = time.perf_counter()
        unpublished = publisher.waiting
        publisher.close()
    ended, cpu_ended = time.perf_counter(), time.process_time()
    runs = len(read_results(plan.trials))
    ideal = runs * seconds / concurrency
    return {
        "trials": trials,
        "seconds of a run": seconds,
        "ms beside training, a run": 1000 * (trained - started - ideal) / runs,
        "of the wall time, %": 100 * (1 - ideal / (trained - started)),
        "CPU ms, a run": 1000 * (cpu_ended - cpu_started) / runs,
        "runs not yet published": unpublished,
        "s to publish them": ended - trained,
    }


def main() -> None:
    """Measure sweeps of growing size whose runs take no time, and one whose runs take a second."""
    parser = argparse.ArgumentParser(prog="scripts/bench overhead", description=main.__doc__)
    sizes = [10, 100, 1000, 5000]
    parser.add_argument("--trials", type=int, nargs="*", default=sizes, help="trials of the sweeps (10 100 1000 5000)")
    parser.add_argument("--second", type=int, default=60, help="trials of the sweep whose runs take a second (60)")
    arguments = parser.parse_args()
    register_sweeps()
    rows = []
    with initialize_config_module("lrbench.conf", version_base="1.3"):
        load_config("sweep", ["sweep=smoke"])  # does the imports, which are not measured
        for trials, seconds in [*((count, 0.0) for count in arguments.trials), (arguments.second, 1.0)]:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(trials, seconds, Path(folder)))
            print(", ".join(f"{name}: {value:.4g}" for name, value in rows[-1].items()), flush=True)
    record.keep("overhead", {"sweeps": rows})


if __name__ == "__main__":
    main()
