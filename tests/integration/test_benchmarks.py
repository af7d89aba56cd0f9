"""What the benchmarks measure beside lrbench is the same training."""

import itertools

import pytest
import torch

from lrbench.schedules.table import start_schedule
from lrbench.training.resident import Resident
from lrbench.training.trainer import Trainer
from scripts.benchmarks.fused import Fused
from tests.conftest import Spec

STEPS = 5  # later, rounding has grown: a ReLU is on in one of two runs, and off in the other


@pytest.mark.parametrize("overrides", [["model.args.pool=after"], ["model=resnet20", "model.args.width=4"]])
def test_fused_runs_are_the_runs_apart(spec: Spec, overrides: list[str]) -> None:
    common = ["train.precision=float32", "train.epochs=1", "phase=final", "optimizer.lr=0.05", *overrides]
    runs = [spec(*common, f"scheduler={name}") for name in ("one_cycle", "constant", "cosine")]
    fused = Fused(runs)
    losses = torch.stack([fused.step(*batch) for batch in itertools.islice(fused.run.batches(), STEPS)])
    for number, run in enumerate(runs):
        apart, schedule = Trainer(run, Resident()), start_schedule(run)
        for step, batch in enumerate(itertools.islice(apart.batches(), STEPS)):
            apart.set_rate(schedule, step)
            assert float(apart.step(*batch)) == pytest.approx(float(losses[step, number]), rel=1e-3)
    assert len(set(losses[-1].tolist())) == len(runs)  # the rates are the runs' own
    assert fused.train() == fused.train()  # it begins anew
