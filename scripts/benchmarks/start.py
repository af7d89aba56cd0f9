"""The time from a command to its first action, and from a sweep to its first training step."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lrbench.results.files import read_results
from scripts.benchmarks import record

EMPTY = """
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    pass

main()
"""
SWEEP = [sys.executable, "-m", "lrbench.sweep"]
COMMANDS = {
    "an empty Hydra program": [sys.executable, "-c", EMPTY],
    "lrbench.sweep --help": [*SWEEP, "--help"],
    "lrbench.sweep --cfg job": [*SWEEP, "--cfg", "job"],
    "a rejected config": [*SWEEP, "schedulers=[cosine]", "train.epochs=0"],
}


def seconds(command: list[str], folder: Path) -> float:
    """Return how long a command takes."""
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True)
    return time.perf_counter() - started


def until_first_step(folder: Path) -> float:
    """Return the seconds from the command of the sweep quick to its first training step."""
    started = time.time()
    short = ["schedulers=[cosine]", "searches=1", "n_trials=1", "final_seeds=1", "final_train_images=10000"]
    subprocess.run([*SWEEP, *short], cwd=folder, capture_output=True, check=True)
    results = read_results(folder / "runs" / "quick" / "trials")
    return min(run.curves["lr"].times[0] for run in results) / 1000 - started


def main() -> None:
    """Time the commands in turns, and compare them with an empty Hydra program.

    CIFAR-10 must be in the cache already.
    """
    parser = argparse.ArgumentParser(prog="scripts/bench start", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often each command is started (7)")
    parser.add_argument("--sweeps", type=int, default=3, help="how often a sweep is started (3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rounds = [
            {name: seconds(command, Path(folder)) for name, command in COMMANDS.items()}
            for _ in range(arguments.rounds + 1)
        ][1:]  # the first round warms the file cache
        medians = {name: round(statistics.median(times[name] for times in rounds), 2) for name in COMMANDS}
        first_steps = [until_first_step(Path(tempfile.mkdtemp(dir=folder))) for _ in range(arguments.sweeps)]
    results = {
        "seconds, median": medians,
        "seconds from the command of a sweep to its first training step": [round(step, 1) for step in first_steps],
    }
    print(results)
    record.keep("start", results)


if __name__ == "__main__":
    main()
