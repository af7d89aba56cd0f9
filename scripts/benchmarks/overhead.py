"""What a run costs beside its training: Optuna, the results, MLflow and the coordinator, at simulated runs."""

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

from lrbench import config, plan, results, sweep
from lrbench.contender import Contender
from lrbench.display import Board
from lrbench.executors import Say, Watch
from lrbench.results import Curve, TrialResult
from lrbench.spec import Machine, TrialSpec
from lrbench.tracking import Publisher
from scripts.benchmarks import record

MACHINE = Machine(device="cpu", gpus=0, cores=2, bfloat16=False)
STEPS = 156  # of a run of the sweep quick


class Simulated:
    """Two workers that wait instead of training, and answer with curves as long as those of a run of `quick`."""

    runs_at_once = 2

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._jobs: queue.SimpleQueue[tuple[TrialSpec, Future[TrialResult]]] = queue.SimpleQueue()
        for _ in range(self.runs_at_once):
            threading.Thread(target=self._work, daemon=True).start()

    def examine(self, specs: Sequence[TrialSpec], say: Say) -> Machine:
        """Return a machine of two cores."""
        return MACHINE

    def submit(self, spec: TrialSpec, watch: Watch = lambda: None) -> Future[TrialResult]:
        """Return a future of a result with the accuracy that a quarter of the rate would have."""
        future: Future[TrialResult] = Future()
        self._jobs.put((spec, future))
        return future

    def close(self) -> None:
        """Nothing is to be ended."""

    def _work(self) -> None:
        while True:
            spec, future = self._jobs.get()
            time.sleep(self._seconds)
            future.set_result(simulated(spec))


def simulated(spec: TrialSpec) -> TrialResult:
    """Return a result with curves as long as those of a run of quick, and an accuracy that depends on the rate."""
    now = round(time.time() * 1000)
    accuracy = max(0.1, 0.7 - (spec.optimizer.lr - 0.4) ** 2)
    loss = Curve(steps=list(range(2, STEPS + 1, 2)), values=[2.0] * (STEPS // 2), times=[now] * (STEPS // 2))
    rates = Curve(steps=list(range(STEPS)), values=[spec.optimizer.lr] * STEPS, times=[now] * STEPS)
    scores = Curve(steps=[STEPS // 2, STEPS], values=[accuracy, accuracy], times=[now, now])
    curves = {"lr": rates, "train/loss": loss, "val/loss": scores, "val/accuracy": scores}
    curves |= {"test/loss": scores, "test/accuracy": scores} if spec.phase == "final" else {}
    made = {"device": "simulated", "torch": "", "python": "", "platform": ""}
    return TrialResult(spec=spec, state="finished", reason="", curves=curves, train_seconds=1.0, eval_seconds=0.0, environment=made)


def measure(trials: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Return the cost of a trial in a sweep of so many trials of one scheduler, of runs that last so long."""
    planned = plan.make(["sweep=smoke", "schedulers=[warmup_cosine]", f"n_trials={trials}", "final_seeds=2", f"out={folder}", "device=cpu"])
    executor = Simulated(seconds)
    planned.folder.mkdir(parents=True)
    studies = planned.studies([])
    contenders = [Contender(cfg, planned.settings, MACHINE, executor.runs_at_once, studies[name]) for name, cfg in planned.configs.items()]
    board = Board(Console(quiet=True), planned.runs, planned.steps)
    with Publisher(folder, None, planned.settings.name) as publisher:
        publisher.publish_report(planned.folder)  # opens the store, which takes seconds once and not for each trial
        while publisher.waiting:
            time.sleep(0.01)
        began, cpu_began = time.perf_counter(), time.process_time()
        sweep.train_all(contenders, executor, {}, planned.folder / "trials", board, publisher)
        trained = time.perf_counter()
        left = publisher.waiting
        publisher.close()
    ended, cpu_ended = time.perf_counter(), time.process_time()
    runs = len(results.read_all(planned.folder / "trials"))
    ideal = runs * seconds / executor.runs_at_once
    return {
        "trials": trials,
        "seconds of a run": seconds,
        "ms beside training, a run": 1000 * (trained - began - ideal) / runs,
        "of the wall time, %": 100 * (1 - ideal / (trained - began)),
        "CPU ms, a run": 1000 * (cpu_ended - cpu_began) / runs,
        "runs not yet published": left,
        "s to publish them": ended - trained,
    }


def main() -> None:
    """Measure sweeps of growing size with runs that take no time, and one with runs of a second."""
    parser = argparse.ArgumentParser(prog="scripts/bench overhead", description=main.__doc__)
    parser.add_argument("--trials", type=int, nargs="*", default=[10, 100, 1000, 5000], help="sizes of the sweeps (10 100 1000 5000)")
    parser.add_argument("--second", type=int, default=60, help="trials of the sweep with runs of a second (60)")
    chosen = parser.parse_args()
    plan.register_sweeps()
    rows = []
    with initialize_config_module("lrbench.conf", version_base="1.3"):
        config.load("sweep", ["sweep=smoke"])  # what is imported once
        for trials, seconds in [*((count, 0.0) for count in chosen.trials), (chosen.second, 1.0)]:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(trials, seconds, Path(folder)))
            print(", ".join(f"{name}: {value:.4g}" for name, value in rows[-1].items()), flush=True)
    record.keep("overhead", {"sweeps": rows})


if __name__ == "__main__":
    main()
