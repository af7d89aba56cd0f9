"""Fast training gives the accuracy of a plain loop in float32, within the noise of seeds."""

import statistics
from collections.abc import Callable

import pytest

from lrbench.spec import TrialSpec
from lrbench.training.device import resolve_device
from lrbench.training.train import train_one
from scripts.benchmarks import cpu

SEEDS = range(16)


@pytest.mark.slow
def test_fast_training_gives_the_accuracy_of_a_plain_loop(spec: Callable[..., TrialSpec]) -> None:
    runs = [
        spec(
            "data.images=560",
            "data.holdout_images=400",
            "data.flip=none",
            "train.epochs=2",
            "phase=search",
            f"seed={seed}",
        ).resolved(resolve_device("cpu"))
        for seed in SEEDS
    ]
    fast = [train_one(run).last("val/accuracy") for run in runs]
    plain = [cpu.plain(run, threads=1, loader_workers=0) for run in runs]
    difference = statistics.mean(fast) - statistics.mean(plain)
    error = ((statistics.variance(fast) + statistics.variance(plain)) / len(SEEDS)) ** 0.5
    assert 0.3 < statistics.mean(plain) < 0.95  # neither untrained nor all that can be learned
    assert abs(difference) < 3 * error < 0.2, (difference, error)
