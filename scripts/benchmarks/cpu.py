"""One run on the CPU at the setting of the sweep quick: lrbench, and a plain PyTorch loop with
torchvision and a DataLoader.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from hydra import initialize_config_module
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from lrbench.config.compose import load_config, parse_spec
from lrbench.config.paths import data_root
from lrbench.data.cifar10 import MEAN, STD
from lrbench.data.dataset import Split, load_dataset
from lrbench.spec import TrialSpec
from lrbench.training.device import resolve_device
from lrbench.training.train import train_one
from lrbench.training.trainer import build_network
from scripts.benchmarks import record

CORES = len(os.sched_getaffinity(0))
# What is compared: the loop, the threads of a run, the workers of its DataLoader, the runs at once.
KINDS: dict[str, tuple[str, int, int, int]] = {
    "plain loop, all cores": ("plain", CORES, 0, 1),
    "plain loop, all cores, 2 loader workers": ("plain", CORES, 2, 1),
    "plain loop, a run a core": ("plain", 1, 0, CORES),
    "lrbench, one core": ("lrbench", 1, 0, 1),
    "lrbench, a run a core": ("lrbench", 1, 0, CORES),
}


class Images(Dataset[tuple[Tensor, int]]):
    """Pictures and labels as torchvision.datasets.CIFAR10 gives them."""

    def __init__(self, split: Split, transform: transforms.Compose) -> None:
        self.images, self.labels, self.transform = split.images.numpy(), split.labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def plain(spec: TrialSpec, threads: int, loader_workers: int) -> float:
    """Train as the tutorials do, and return the validation accuracy."""
    torch.set_num_threads(threads)
    torch.manual_seed(spec.seed)
    dataset, train = load_dataset(spec.data, torch.device("cpu"), data_root()), spec.train
    normal = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    crop = transforms.RandomCrop(32, padding=spec.data.crop_padding, padding_mode="reflect")
    flip = [] if spec.data.flip == "none" else [transforms.RandomHorizontalFlip()]
    augmented = transforms.Compose([crop, *flip, *normal])
    forked: dict[str, Any] = {
        "num_workers": loader_workers,
        "multiprocessing_context": "fork" if loader_workers else None,
    }  # as on Linux
    batches = DataLoader(Images(dataset.train, augmented), train.batch_size, shuffle=True, drop_last=True, **forked)
    held_out = DataLoader(Images(dataset.holdout, transforms.Compose(normal)), 500, **forked)
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


@lru_cache
def quick() -> TrialSpec:
    """Return the first search run of the sweep quick with one_cycle, as this machine trains it."""
    with initialize_config_module("lrbench.conf", version_base="1.3"):
        return parse_spec(load_config("config", ["phase=search", "device=cpu"])).resolved(resolve_device("cpu"), CORES)


def run(loop_name: str, threads: int, loader_workers: int, seed: int) -> float:
    """Train once in this process, and return the validation accuracy."""
    spec = quick().model_copy(update={"seed": seed})
    if loop_name == "plain":
        return plain(spec, threads, loader_workers)
    return train_one(spec.model_copy(update={"train": spec.train.model_copy(update={"threads": threads})})).last(
        "val/accuracy"
    )


def seconds_a_run(pool: ProcessPoolExecutor, kind: str, seed: int) -> tuple[float, float]:
    """Return the wall time of a run where so many are trained at once, and the accuracy."""
    loop_name, threads, loader_workers, at_once = KINDS[kind]
    began = time.perf_counter()
    accuracy, *_ = [
        future.result()
        for future in [pool.submit(run, loop_name, threads, loader_workers, seed) for _ in range(at_once)]
    ]
    return (time.perf_counter() - began) / at_once, accuracy


def summary(rounds: Sequence[dict[str, tuple[float, float]]]) -> dict[str, Any]:
    """Return medians, how many times as long as lrbench's the others take in the same round, and
    how the accuracies compare.
    """
    base = "lrbench, a run a core"
    seconds = {kind: round(statistics.median(times[kind][0] for times in rounds), 3) for kind in KINDS}
    ratios = {kind: sorted(times[kind][0] / times[base][0] for times in rounds) for kind in KINDS}
    shown = {
        kind: [round(statistics.median(found), 2), round(found[0], 2), round(found[-1], 2)]
        for kind, found in ratios.items()
    }
    accuracies = {kind: [scores[kind][1] for scores in rounds] for kind in ("plain loop, a run a core", base)}
    return {
        "seconds a run, median": seconds,
        f"times as long as '{base}': median, least, most": shown,
        "validation accuracy, mean over the rounds' seeds": {
            kind: round(statistics.mean(found), 4) for kind, found in accuracies.items()
        },
        "standard deviation": {kind: round(statistics.stdev(found), 4) for kind, found in accuracies.items()},
    }


def main() -> None:
    """Train by turns with a plain loop and with lrbench: 10,000 images, batches of 64, an epoch,
    two evaluations on 5,000 images.
    """
    parser = argparse.ArgumentParser(prog="scripts/bench cpu", description=main.__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="trainings of each, every one with another seed (8)")
    chosen = parser.parse_args()
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        for kind in KINDS:  # the first of each is not counted
            seconds_a_run(pool, kind, seed=0)
        rounds = []
        for number in range(1, chosen.rounds + 1):
            rounds.append({kind: seconds_a_run(pool, kind, seed=number) for kind in KINDS})
            print(
                f"round {number}: " + ", ".join(f"{kind} {seconds:.2f} s" for kind, (seconds, _) in rounds[-1].items()),
                flush=True,
            )
    found = {"rounds": chosen.rounds, "precision": quick().train.precision, **summary(rounds)}
    for name, value in found.items():
        print(f"{name}: {value}")
    record.keep("cpu", found)


if __name__ == "__main__":
    main()
