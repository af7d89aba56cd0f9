"""The training that the benchmarks compare with lrbench is the same training."""

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lrbench.schedules.table import start_schedule
from lrbench.training.device import resolve_device
from lrbench.training.run_cache import RunCache
from lrbench.training.train import train_one
from lrbench.training.trainer import Trainer
from scripts.benchmarks import cpu, gpu
from scripts.benchmarks.fused import Fused
from tests.conftest import Spec

ROOT = Path(__file__).parents[2]
STEPS = 3  # later, rounding errors have grown: a ReLU is on in one of two runs, and off in the other
SCHEDULERS = ("one_cycle", "constant", "cosine")
TINY = ("data.images=168", "data.holdout_images=8", "train.batch_size=16", "train.epochs=0.5")  # 5 steps
NETWORKS = [["model.args.pool=after", "model.args.width=0.05"], ["model=resnet20", "model.args.width=1"]]


@pytest.mark.parametrize("network", NETWORKS, ids=["fast_quarter", "resnet20"])
def test_fused_runs_are_the_runs_apart(spec: Spec, network: list[str]) -> None:
    common = [*TINY, "train.precision=float32", "phase=final", "optimizer.lr=0.05", *network]
    runs = [spec(*common, f"scheduler={name}") for name in SCHEDULERS]
    fused = Fused(runs)
    losses = torch.stack([fused.step(*batch) for batch in itertools.islice(fused.run.batches(), STEPS)])
    assert losses.shape == (STEPS, len(runs))
    for number, run in enumerate(runs):
        apart, schedule = Trainer(run, RunCache()), start_schedule(run)
        for step, batch in enumerate(itertools.islice(apart.batches(), STEPS)):
            apart.set_rate(schedule, step)
            assert float(apart.step(*batch)) == pytest.approx(float(losses[step, number]), rel=1e-5)
    assert len(set(losses[-1].tolist())) == len(runs)  # each run has its own learning rates
    assert fused.train() == fused.train()  # the second training starts from the first step again


def test_the_plain_loop_learns_like_lrbench(spec: Spec) -> None:
    """`scripts/bench cpu` compares their accuracies over seeds. Here both learn at all."""
    overrides = ["data.images=560", "data.holdout_images=400", "data.flip=none", "train.epochs=2", "phase=search"]
    run = spec(*overrides).resolved(resolve_device("cpu"))
    accuracies = [train_one(run).last("val/accuracy"), cpu.plain(run, threads=1, loader_workers=0)]
    assert all(0.3 < accuracy <= 1 for accuracy in accuracies), accuracies


def test_the_summary_compares_times_of_the_same_round_and_accuracies() -> None:
    fast, plain = "lrbench, a run a core", "plain loop, a run a core"
    rounds = [dict.fromkeys(cpu.KINDS, (6.0, 0.5)) | {fast: (seconds, 0.5)} for seconds in (1.0, 2.0, 3.0)]
    for results, accuracy in zip(rounds, (0.4, 0.5, 0.6), strict=True):
        results[plain] = (6.0, accuracy)
    summary = cpu.summary(rounds)
    assert summary[f"times as long as '{fast}': median, least, most"][plain] == [3.0, 2.0, 6.0]
    assert summary["seconds a run, median"][fast] == 2.0
    assert summary["standard deviation"] == {plain: 0.1, fast: 0.0}
    assert summary["difference of the accuracies, in standard errors"] == 0.0


def test_runs_of_the_gpu_benchmark_differ_in_scheduler_and_seed() -> None:
    runs = gpu.specs(["device=cpu"], 5)
    assert [run.scheduler.name for run in runs] == [
        "one_cycle",
        "warmup_cosine",
        "cyclic",
        "warmup_linear",
        "one_cycle",
    ]
    assert [run.seed for run in runs] == [0, 1, 2, 3, 4]
    assert {run.train.total_steps for run in runs} == {475}  # 9.9 epochs of 48 batches


@pytest.mark.slow
@pytest.mark.parametrize("minutes", ["5", "0"])
def test_the_gpu_benchmark_without_a_gpu(tmp_path: Path, minutes: str) -> None:
    """Everything but the compiler, at a tiny size."""
    small = ["data=synthetic", "data.images=704", "train.batch_size=32", "model.args.width=0.1", "optimizer.lr=0.1"]
    options = ["--minutes", minutes, "--runs", "2", "--kinds", "eager,graph", "--at-once", "1"]
    command = [sys.executable, "-m", "scripts.benchmarks.gpu", *options, "--out", str(tmp_path)]
    done = subprocess.run(
        [*command, *small, "train.epochs=0.5", "device=cpu"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())
    values = [f"{value}" for value in results.values()]
    if minutes == "0":
        assert results["graph, full width, 1 at once"] == "left out, because the time was over"
        return
    assert not [value for value in values if value.startswith(("failed", "left out"))]
    assert results["accuracy of graph minus eager, full width"]["difference"] == 0
    assert results["losses of the graph and of eager steps, relative difference in float32"]["first 4 steps"] == 0
    assert results["graph, quarter width, 1 at once"]["seconds a run"] > 0
    kernels = results["slowest kernels of a step, graph, µs"]
    assert kernels["all"] > max(value for name, value in kernels.items() if name != "all") > 0


def test_the_luck_of_the_best_trials_in_the_committed_sweep() -> None:
    """`sweeps/searches.md` has these numbers."""
    command = [sys.executable, "-m", "scripts.benchmarks.confirmations", "sweeps/cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    first, *leads = done.stdout.splitlines()
    page = (ROOT / "sweeps" / "searches.md").read_text()
    assert first == "80 searches; the confirmation changed the choice in 7"
    for lead in leads:
        for number in re.findall(r"[\d.]+ ± [\d.]+", lead):
            assert number in page.replace("\n", " ")
