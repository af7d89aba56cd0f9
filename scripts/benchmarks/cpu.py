"""The time of a run on the CPU, in lrbench and in a plain PyTorch loop.

The plain loop uses torchvision's transforms and a DataLoader, as in tutorials. The setting is the
sweep quick. The benchmark also compares the accuracies, because speed must not cost any.
"""

import argparse
import itertools
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from hydra import initialize_config_module
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from lrbench.config.compose import load_config, parse_spec
from lrbench.data.dataset import Split
from lrbench.spec import TrialSpec
from lrbench.training.device import resolve_device
from lrbench.training.run_cache import RunCache
from lrbench.training.train import train_one
from lrbench.training.trainer import build_network
from scripts.benchmarks import record

CORES = len(os.sched_getaffinity(0))
# The loop, the threads of a run, the workers of its DataLoader, and the runs at once.
KINDS: dict[str, tuple[str, int, int, int]] = {
    "plain loop, all cores": ("plain", CORES, 0, 1),
    "plain loop, all cores, 2 loader workers": ("plain", CORES, 2, 1),
    "plain loop, a run a core": ("plain", 1, 0, CORES),
    "lrbench, one core": ("lrbench", 1, 0, 1),
    "lrbench, a run a core": ("lrbench", 1, 0, CORES),
}


class Images(Dataset[tuple[Tensor, int]]):
    """Images and labels in the format of torchvision.datasets.CIFAR10."""

    def __init__(self, split: Split, transform: transforms.Compose) -> None:
        self.images, self.labels, self.transform = split.images.numpy(), split.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def plain(spec: TrialSpec, threads: int, loader_workers: int) -> float:
    """Train in a plain loop, and return the validation accuracy."""
    torch.set_num_threads(threads)
    torch.manual_seed(spec.seed)
    dataset, train = run_cache().dataset(spec.data, torch.device("cpu")), spec.train
    normalize = [transforms.ToTensor(), transforms.Normalize(dataset.mean, dataset.std)]
    crop = transforms.RandomCrop(dataset.image_size, padding=spec.data.crop_padding, padding_mode="reflect")
    flip = [] if spec.data.flip == "none" else [transforms.RandomHorizontalFlip()]
    augmented = transforms.Compose([crop, *flip, *normalize])
    # "fork" was the default on Linux before Python 3.14.
    workers: dict[str, Any] = {
        "num_workers": loader_workers,
        "multiprocessing_context": "fork" if loader_workers else None,
    }
    batches = DataLoader(Images(dataset.train, augmented), train.batch_size, shuffle=True, drop_last=True, **workers)
    held_out = DataLoader(Images(dataset.holdout, transforms.Compose(normalize)), 500, **workers)
    net = build_network(spec, dataset)
    args = spec.optimizer.args
    optimizer = torch.optim.SGD(net.parameters(), spec.optimizer.lr, weight_decay=spec.optimizer.weight_decay, **args)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, spec.optimizer.lr, train.total_steps, cycle_momentum=False
    )
    accuracy, evaluate_at = 0.0, {train.total_steps // 2, train.total_steps}
    epochs = itertools.chain.from_iterable(itertools.repeat(batches))
    for step, (images, labels) in zip(range(1, train.total_steps + 1), epochs, strict=False):
        net.train()
        loss = F.cross_entropy(net(images), labels, label_smoothing=train.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
        if step in evaluate_at:
            accuracy = _accuracy(net, held_out)
    return accuracy


def _accuracy(net: nn.Module, batches: "DataLoader[tuple[Tensor, int]]") -> float:
    net.eval()
    correct = images_seen = 0
    with torch.no_grad():
        for images, labels in batches:
            correct += int((net(images).argmax(1) == labels).sum())
            images_seen += len(images)
    return correct / images_seen


@cache
def run_cache() -> RunCache:
    """Return the data that this process keeps; only the first run of each loop loads them."""
    return RunCache()


@cache
def quick() -> TrialSpec:
    """Return the first search run of one_cycle in the sweep quick, resolved for this machine."""
    with initialize_config_module("lrbench.conf", version_base="1.3"):
        return parse_spec(load_config("config", ["phase=search", "device=cpu"])).resolved(resolve_device("cpu"), CORES)


def run(loop_name: str, threads: int, loader_workers: int, seed: int) -> float:
    """Train once in this process, and return the validation accuracy."""
    spec = quick().model_copy(update={"seed": seed})
    if loop_name == "plain":
        return plain(spec, threads, loader_workers)
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"threads": threads})})
    return train_one(spec, run_cache=run_cache()).last("val/accuracy")


def seconds_a_run(pool: ProcessPoolExecutor, kind: str, seed: int) -> tuple[float, float]:
    """Train a round of runs, and return the wall time per run and the accuracy of one."""
    loop_name, threads, loader_workers, at_once = KINDS[kind]
    started = time.perf_counter()
    futures = [pool.submit(run, loop_name, threads, loader_workers, seed) for _ in range(at_once)]
    accuracy, *_ = [future.result() for future in futures]
    return (time.perf_counter() - started) / at_once, accuracy


def summary(rounds: Sequence[dict[str, tuple[float, float]]]) -> dict[str, Any]:
    """Return the medians of the times, their ratios to lrbench's, and a comparison of accuracies.

    A ratio compares times of the same round. The rounds have different seeds.
    """
    plain, fast = "plain loop, a run a core", "lrbench, a run a core"
    medians, ratios = {}, {}
    for kind in KINDS:
        medians[kind] = round(statistics.median(times[kind][0] for times in rounds), 3)
        values = sorted(times[kind][0] / times[fast][0] for times in rounds)
        ratios[kind] = [round(value, 2) for value in (statistics.median(values), values[0], values[-1])]
    accuracies = {kind: [scores[kind][1] for scores in rounds] for kind in (plain, fast)}
    deviations = {kind: statistics.stdev(scores) for kind, scores in accuracies.items()}
    means = {kind: statistics.mean(scores) for kind, scores in accuracies.items()}
    error = math.sqrt(sum(deviation**2 for deviation in deviations.values()) / len(rounds))
    return {
        "seconds a run, median": medians,
        f"times as long as '{fast}': median, least, most": ratios,
        "validation accuracy, mean over the rounds' seeds": {kind: round(mean, 4) for kind, mean in means.items()},
        "standard deviation": {kind: round(deviation, 4) for kind, deviation in deviations.items()},
        # Speed changes no result beyond the noise of seeds if this is between -3 and 3.
        "difference of the accuracies, in standard errors": round((means[fast] - means[plain]) / error, 2),
    }


def main() -> None:
    """Train in turns in a plain loop and in lrbench, and compare the times and the accuracies.

    A run is one epoch of 10,000 images in batches of 64, with two evaluations on 5,000 images.
    """
    parser = argparse.ArgumentParser(prog="scripts/bench cpu", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="rounds, each with another seed, at least 2 (8)")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error(f"--rounds={options.rounds}: must be at least 2, for a standard deviation")
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        for kind in KINDS:  # a warm-up, which is not counted
            seconds_a_run(pool, kind, seed=0)
        rounds = []
        for number in range(1, options.rounds + 1):
            rounds.append({kind: seconds_a_run(pool, kind, seed=number) for kind in KINDS})
            times = ", ".join(f"{kind} {seconds:.2f} s" for kind, (seconds, _) in rounds[-1].items())
            print(f"round {number}: {times}", flush=True)
    results = {"rounds": options.rounds, "precision": quick().train.precision, **summary(rounds)}
    for name, value in results.items():
        print(f"{name}: {value}")
    record.keep("cpu", results)


if __name__ == "__main__":
    main()
