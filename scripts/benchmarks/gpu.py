"""The runs per hour on one GPU, at the setting of airbench94.

Compares eager, graph and compiled training, several processes at once, and airbench94 itself.
"""

import argparse
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from hydra import initialize_config_module

from lrbench.config.compose import load_config, parse_spec
from lrbench.spec import TrialSpec
from lrbench.training.device import resolve_device
from lrbench.training.run_cache import RunCache
from lrbench.training.train import train_one
from lrbench.training.trainer import build_network
from scripts.benchmarks import record

# airbench94 on all 50,000 images, scored once (https://github.com/KellerJordan/cifar10-airbench).
SETTING = (
    "model=fast",
    "data.holdout_images=0",
    "data.train_images=null",
    "train.epochs=9.9",
    "train.batch_size=1024",
    "train.eval_epochs=10",
    "train.label_smoothing=0.2",
    "optimizer.lr=1.5",
    "optimizer.weight_decay=0.0013",
    "optimizer.bias_lr_factor=64",
    "optimizer.args.momentum=0.85",
)
# The shortest time of such a run on an H200: 3.58e14 FLOP at 790 TFLOP/s, then 1.67e12 bytes at
# 4.8 TB/s.
FLOOR_SECONDS = 0.80
KINDS = ("eager", "graph", "graph-cudnn", "compiled-graph")  # in graph-cudnn, cuDNN tries all algorithms first


def configs() -> initialize_config_module:
    """Return the context in which `specs` finds lrbench's configs."""
    return initialize_config_module("lrbench.conf", version_base="1.3")


def specs(overrides: list[str], runs: int) -> list[TrialSpec]:
    """Return runs that differ in scheduler and seed. Call it inside `configs()`."""
    schedulers = ("one_cycle", "warmup_cosine", "cyclic", "rex")
    different = [parse_spec(load_config("config", [*SETTING, *overrides, f"scheduler={name}"])) for name in schedulers]
    return [different[number % len(different)].model_copy(update={"seed": number}) for number in range(runs)]


def prepare(kind: str, spec: TrialSpec, run_cache: RunCache) -> None:
    """Prepare `run_cache` for runs of `kind`. The first run then compiles, so it does not count."""
    spec = spec.resolved(resolve_device(spec.device))
    data = run_cache.dataset(spec.data, torch.device(spec.device))
    network = build_network(spec, data)
    device_step = run_cache.device_step(spec, network, data)
    step = device_step.train_step if device_step else run_cache.train_step(spec, network)
    torch.backends.cudnn.benchmark = kind == "graph-cudnn"
    if kind == "compiled-graph":
        step.net.compile()


def train(kind: str, overrides: list[str], runs: int) -> tuple[float, float, list[float]]:
    """Return the start of the first counted run, the end of the last one, and the accuracies."""
    with configs():
        warm_up, *counted = specs([*overrides, *(["train.graph=off"] if kind == "eager" else [])], runs + 1)
    run_cache = RunCache()
    prepare(kind, warm_up, run_cache)
    train_one(warm_up, run_cache=run_cache)
    started = time.time()
    accuracies = [train_one(spec, run_cache=run_cache).last("test/accuracy") for spec in counted]
    return started, time.time(), accuracies


def measure(kind: str, overrides: list[str], runs: int, at_once: int) -> dict[str, Any]:
    """Return the runs per hour of `at_once` processes that train `runs` runs each."""
    with ProcessPoolExecutor(at_once, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(train, kind, overrides, runs) for _ in range(at_once)]
        starts, ends, accuracies = zip(*(future.result() for future in futures), strict=True)
    # The mean over the processes, because they do not start and end together.
    seconds = statistics.mean(end - start for start, end in zip(starts, ends, strict=True)) / (runs * at_once)
    scores = [score for process in accuracies for score in process]
    return {
        "seconds a run": round(seconds, 3),
        "runs an hour": round(3600 / seconds),
        f"of the floor of {FLOOR_SECONDS} s": round(FLOOR_SECONDS / seconds, 3),
        "test accuracy, mean": round(statistics.mean(scores), 4),
        "standard deviation": round(statistics.stdev(scores), 4) if len(scores) > 1 else None,
    }


def airbench(path: Path) -> dict[str, Any]:
    """Return the times and accuracies that airbench94 prints, without its first run."""
    with configs():
        (run,) = specs([], 1)
    dataset = RunCache().dataset(run.data, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cifar10"  # it looks here before it downloads
        cache.mkdir()
        for name, split in (("train", dataset.train), ("test", dataset.test)):
            content = {"images": split.images, "labels": split.labels, "classes": list(range(dataset.classes))}
            torch.save(content, cache / f"{name}.pt")
        done = subprocess.run([sys.executable, path.absolute()], cwd=folder, capture_output=True, text=True, check=True)
    times = re.findall(r"\|\s+eval\s+\|.*\|\s*([\d.]+)\s*\|$", done.stdout, re.MULTILINE)
    seconds = statistics.median(float(time) for time in times[1:])
    return {
        "seconds a run": round(seconds, 3),
        "runs an hour": round(3600 / seconds),
        "says": done.stdout.strip().splitlines()[-2],
    }


def gpu_name() -> str:
    """Return the name of the GPU for a record."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


def main() -> None:
    """Train at airbench94's setting in several ways, and print the runs per hour.

    Also prints them as a part of the floor, the shortest time that the hardware allows.
    """
    parser = argparse.ArgumentParser(prog="scripts/bench gpu", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=16, help="counted runs of each process (16)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"ways to train ({','.join(KINDS)})")
    parser.add_argument("--at-once", default="1,2,4", help="processes at once (1,2,4)")
    parser.add_argument("--airbench", type=Path, help="path of airbench94.py, to time it too")
    parser.add_argument("overrides", nargs="*", default=[], help="changes to the setting, such as model.args.width=0.5")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    if unknown := sorted(set(kinds) - set(KINDS)):
        parser.error(f"--kinds={','.join(unknown)}: must be of {', '.join(KINDS)}")
    results: dict[str, Any] = {}
    for kind in kinds:
        for at_once in map(int, options.at_once.split(",")):
            name = f"{kind}, {at_once} at once"
            results[name] = measure(kind, options.overrides, options.runs, at_once)
            print(f"{name}: {results[name]}", flush=True)
    if options.airbench:
        results["airbench94.py"] = airbench(options.airbench)
        print(f"airbench94.py: {results['airbench94.py']}")
    circumstances = {"setting": [*SETTING, *options.overrides], "counted runs of each process": options.runs}
    record.keep("gpu", {"GPU": gpu_name(), **circumstances, **results})


if __name__ == "__main__":
    main()
