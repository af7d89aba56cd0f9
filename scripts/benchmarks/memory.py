"""The memory of one worker process over many runs."""

import argparse
import tempfile
from pathlib import Path

from hydra import initialize_config_module

from lrbench import config
from lrbench.executors import Checkpoints, LocalWorkers
from scripts.benchmarks import record

SCHEDULERS = ("cosine", "one_cycle", "plateau", "cyclic", "sequence")
SMALL = ("data=synthetic", "data.images=704", "data.holdout_images=64", "train.batch_size=32", "train.threads=1", "device=cpu")


def megabytes(process: int) -> float:
    """Return the resident memory of a process."""
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Train small runs of several schedulers, one after the other in one worker, and look at its memory now and then."""
    parser = argparse.ArgumentParser(prog="scripts/bench memory", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=500, help="runs (500)")
    chosen = parser.parse_args()
    seen: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder, initialize_config_module("lrbench.conf", version_base="1.3"):
        specs = [config.parse(config.load("config", [*SMALL, f"scheduler={name}"])) for name in SCHEDULERS]
        workers = LocalWorkers(1, Path(folder), Checkpoints(Path(folder), 60), lambda *_: None)
        machine = workers.examine(specs, lambda text: None)
        for number in range(1, chosen.runs + 1):
            spec = specs[number % len(specs)].model_copy(update={"seed": number})
            workers.submit(spec.settled(machine)).result()
            if number in (1, 10) or number % 50 == 0:
                seen[number] = round(megabytes(workers._workers[0]._process.pid), 1)
                print(f"after {number} runs: {seen[number]} MB", flush=True)
        workers.close()
    record.keep("memory", {"resident MB of the worker, after so many runs": seen})


if __name__ == "__main__":
    main()
