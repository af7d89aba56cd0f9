"""Runs an hour on one GPU at the setting of airbench94: eager, as a CUDA graph, compiled; several
at once; and airbench94 beside them.
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
from lrbench.training.resident import Resident
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
FLOOR_SECONDS = (
    0.80  # of such a run on an H200: 3.58e14 FLOP at 790 TFLOP/s, and 1.67e12 bytes at 4.8 TB/s, one after the other
)
KINDS = (
    "eager",
    "graph",
    "graph-cudnn",
    "compiled-graph",
)  # cudnn: where cuDNN tries its algorithms first, and takes the fastest


def specs(overrides: list[str], runs: int) -> list[TrialSpec]:
    """Return runs that differ in scheduler and seed, like the runs of a sweep."""
    schedulers = ("one_cycle", "warmup_cosine", "cyclic", "rex")
    with initialize_config_module("lrbench.conf", version_base="1.3"):
        made = [parse_spec(load_config("config", [*SETTING, *overrides, f"scheduler={name}"])) for name in schedulers]
    return [made[number % len(made)].model_copy(update={"seed": number}) for number in range(runs)]


def prepare(kind: str, spec: TrialSpec, resident: Resident) -> None:
    """Prepare `resident` for runs of `kind`. The first run then compiles, so it does not count."""
    spec = spec.resolved(resolve_device(spec.device))
    data = resident.dataset(spec.data, torch.device(spec.device))
    step = resident.train_step(spec, build_network(spec, data))
    step._may_capture = step._may_capture and kind != "eager"
    torch.backends.cudnn.benchmark = kind == "graph-cudnn"
    if kind == "compiled-graph":
        step.net.compile()


def train(kind: str, overrides: list[str], runs: int) -> tuple[float, float, list[float]]:
    """Return the start of the first counted run, the end of the last one, and the accuracies."""
    (warm_up, *counted), resident = specs(overrides, runs + 1), Resident()
    prepare(kind, warm_up, resident)
    train_one(warm_up, resident=resident)
    started = time.time()
    accuracies = [train_one(spec, resident=resident).last("test/accuracy") for spec in counted]
    return started, time.time(), accuracies


def measure(kind: str, overrides: list[str], runs: int, at_once: int) -> dict[str, Any]:
    """Return how many runs an hour so many processes train, where each trains `runs` of them."""
    with ProcessPoolExecutor(at_once, mp_context=multiprocessing.get_context("spawn")) as pool:
        done = [pool.submit(train, kind, overrides, runs) for _ in range(at_once)]
        begun, ended, accuracies = zip(*(future.result() for future in done), strict=True)
    # Only while all were at it: they do not begin and end together.
    seconds = statistics.mean(end - begin for begin, end in zip(begun, ended, strict=True)) / (runs * at_once)
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
    dataset = Resident().dataset(specs([], 1)[0].data, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cifar10").mkdir()
        for name, split in (("train", dataset.train), ("test", dataset.test)):  # where it looks before it downloads
            torch.save(
                {"images": split.images, "labels": split.labels, "classes": list(range(10))},
                f"{folder}/cifar10/{name}.pt",
            )
        done = subprocess.run([sys.executable, path.absolute()], cwd=folder, capture_output=True, text=True, check=True)
    seconds = [float(found) for found in re.findall(r"\|\s+eval\s+\|.*\|\s*([\d.]+)\s*\|$", done.stdout, re.MULTILINE)][
        1:
    ]
    middle = statistics.median(seconds)
    return {
        "seconds a run": round(middle, 3),
        "runs an hour": round(3600 / middle),
        "says": done.stdout.strip().splitlines()[-2],
    }


def main() -> None:
    """Train at airbench94's setting in each way and at each number at once, and print runs an hour
    and the part of the floor.
    """
    parser = argparse.ArgumentParser(prog="scripts/bench gpu", description=main.__doc__)
    parser.add_argument("--runs", type=int, default=16, help="counted runs of each process (16)")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"ways to train ({','.join(KINDS)})")
    parser.add_argument("--at-once", default="1,2,4", help="processes at once (1,2,4)")
    parser.add_argument("--airbench", type=Path, help="airbench94.py, to be timed in the same call")
    parser.add_argument("overrides", nargs="*", default=[], help="changes to the setting, such as model.args.width=0.5")
    chosen = parser.parse_args()
    if unknown := set(chosen.kinds.split(",")) - set(KINDS):
        parser.error(f"--kinds={','.join(sorted(unknown))}: must be of {', '.join(KINDS)}")
    found: dict[str, Any] = {}
    for kind in chosen.kinds.split(","):
        for at_once in map(int, chosen.at_once.split(",")):
            name = f"{kind}, {at_once} at once"
            found[name] = measure(kind, chosen.overrides, chosen.runs, at_once)
            print(f"{name}: {found[name]}", flush=True)
    if chosen.airbench:
        found["airbench94.py"] = airbench(chosen.airbench)
        print(f"airbench94.py: {found['airbench94.py']}")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    record.keep(
        "gpu",
        {"GPU": gpu, "setting": [*SETTING, *chosen.overrides], "counted runs of each process": chosen.runs, **found},
    )


if __name__ == "__main__":
    main()
