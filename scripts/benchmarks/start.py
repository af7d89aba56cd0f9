"""How long a command takes before it does anything, beside an empty Hydra program, and a sweep until its first training step."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lrbench import results
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
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True)
    return time.perf_counter() - began


def until_first_step(folder: Path) -> float:
    """Return the seconds from the command of the sweep quick to its first training step."""
    began = time.time()
    short = ["schedulers=[cosine]", "n_trials=1", "final_seeds=1", "final_train_images=10000"]
    subprocess.run([*SWEEP, *short], cwd=folder, capture_output=True, check=True)
    found = results.read_all(folder / "runs" / "quick" / "trials")
    return min(run.curves["lr"].times[0] for run in found) / 1000 - began


def main() -> None:
    """Time the commands by turns; CIFAR-10 is to be in the cache already."""
    parser = argparse.ArgumentParser(prog="scripts/bench start", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="times that each is started (7)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rounds = [{name: seconds(command, Path(folder)) for name, command in COMMANDS.items()} for _ in range(chosen.rounds + 1)][1:]
        medians = {name: round(statistics.median(times[name] for times in rounds), 2) for name in COMMANDS}
        steps = [until_first_step(Path(tempfile.mkdtemp(dir=folder))) for _ in range(3)]
    found = {
        "seconds, median": medians,
        "seconds from the command of a sweep to its first training step": [round(step, 1) for step in steps],
    }
    print(found)
    record.keep("start", found)


if __name__ == "__main__":
    main()
