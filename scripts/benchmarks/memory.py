"""The memory of one worker process over many runs."""

import argparse
import tempfile
from contextlib import closing
from pathlib import Path

from hydra import initialize_config_module

from lrbench.config.compose import load_config, parse_spec
from lrbench.executors.executor import Workspace
from lrbench.executors.local import LocalWorkers
from scripts.benchmarks import record

SCHEDULERS = ("cosine", "one_cycle", "plateau", "cyclic", "sequence")
SMALL = (
    "data=synthetic",
    "data.images=704",
    "data.holdout_images=64",
    "train.batch_size=32",
    "train.threads=1",
    "device=cpu",
)


def megabytes(process: int) -> float:
    """Return the run_cache memory of a process."""
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Train small runs of several schedulers in one worker, and measure its memory now and then."""
    parser = argparse.ArgumentParser(prog="scripts/bench memory", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=500, help="number of runs (500)")
    arguments = parser.parse_args()
    run_cache: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder, initialize_config_module("lrbench.conf", version_base="1.3"):
        specs = [parse_spec(load_config("config", [*SMALL, f"scheduler={name}"])) for name in SCHEDULERS]
        workspace = Workspace(Path(folder), Path(folder), Path(folder))
        with closing(LocalWorkers(workspace, workers=1, checkpoint_seconds=60.0, silence_seconds=300.0)) as workers:
            device = workers.preflight(specs, lambda text: None)
            for number in range(1, arguments.runs + 1):
                spec = specs[number % len(specs)].model_copy(update={"seed": number}).resolved(device)
                workers.submit(spec, lambda spec, progress: None, lambda: None).result()
                if number in (1, 10) or number % 50 == 0:
                    run_cache[number] = round(megabytes(workers.pids[0]), 1)
                    print(f"after {number} runs: {run_cache[number]} MB", flush=True)
    record.keep("memory", {"run_cache MB of the worker, after so many runs": run_cache})


if __name__ == "__main__":
    main()
