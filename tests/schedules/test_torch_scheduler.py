import numpy as np
import pytest
import torch

from lrbench.schedules.table import schedule_table
from lrbench.schedules.torch_scheduler import dummy_optimizer, momentum_of, scheduler_steps
from lrbench.spec import ConfigError
from tests.conftest import Spec

PEAK = 0.5
LENGTH = ("train.epochs=2", f"optimizer.lr={PEAK}")  # 40 steps


def test_a_scheduler_always_begins_on_a_new_optimizer(spec: Spec) -> None:
    """On a used optimizer, torch's second scheduler starts from the old `initial_lr`."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    optimizer.param_groups[0]["lr"] = PEAK
    torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    optimizer.step()
    assert optimizer.param_groups[0]["initial_lr"] == 0.1
    for lr in (0.1, PEAK):
        assert schedule_table(spec("scheduler=constant", f"optimizer.lr={lr}")).lr[0] == lr


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_lambda_formula_reads_the_epoch(spec: Spec, interval: str) -> None:
    overrides = ("scheduler=lambda", "scheduler.args.lr_lambda='0.95 ** epoch'", f"scheduler.interval={interval}")
    lr = schedule_table(spec(*overrides, *LENGTH)).lr
    assert lr[20] == pytest.approx(PEAK * 0.95, abs=1e-12)
    assert lr[30] == pytest.approx(PEAK * (0.95**1.5 if interval == "step" else 0.95), abs=1e-12)


@pytest.mark.parametrize("name", ["step", "epoch", "progress", "total_steps", "total_epochs", "scheduler_steps"])
def test_names_in_a_formula(spec: Spec, name: str) -> None:
    values = {"step": 30, "epoch": 1.5, "progress": 0.75, "total_steps": 40, "total_epochs": 2, "scheduler_steps": 40}
    lr = schedule_table(spec("scheduler=lambda", f"scheduler.args.lr_lambda={name}", *LENGTH)).lr
    assert lr[30] == pytest.approx(PEAK * values[name], abs=1e-12)


def test_the_scale_of_a_cycle_is_a_formula(spec: Spec) -> None:
    """CyclicLR calls scale_fn with the finished cycles, from 1, or with the iteration."""
    overrides = ("scheduler=cyclic", "scheduler.args.scale_fn='1 / x'", "scheduler.args.scale_mode=cycle")
    scaled, plain = (schedule_table(spec(*words, *LENGTH)).lr for words in (overrides, ("scheduler=cyclic",)))
    floor = plain.min()
    np.testing.assert_allclose(scaled[:20], plain[:20], atol=1e-12)
    np.testing.assert_allclose(scaled[20:] - floor, (plain[20:] - floor) / 2, atol=1e-12)


def test_an_unknown_argument_names_the_allowed_ones(spec: Spec) -> None:
    target = "torch.optim.lr_scheduler.StepLR"
    message = f"scheduler.args.lr_lambda: unknown argument of {target}. Allowed: step_size, gamma, last_epoch"
    with pytest.raises(ConfigError) as raised:
        schedule_table(spec("scheduler=lambda", f"scheduler._target_={target}", *LENGTH))
    assert message in str(raised.value)


def test_an_unknown_argument_of_a_member_has_its_whole_key(spec: Spec) -> None:
    member = "{_target_: torch.optim.lr_scheduler.ExponentialLR, args: {gama: 0.9}}"
    with pytest.raises(ConfigError, match=r"scheduler\.args\.schedulers\[0\]\.args\.gama: unknown argument of torch"):
        schedule_table(spec("scheduler=chained", f"scheduler.args.schedulers=[{member}]", *LENGTH))


@pytest.mark.parametrize(("optimizer", "momentum"), [("sgd", 0.9), ("adamw", 0.9), ("muon", 0.95)])
def test_the_dummy_optimizer_has_the_rate_and_the_momentum(spec: Spec, optimizer: str, momentum: float) -> None:
    dummy = dummy_optimizer(spec(f"optimizer={optimizer}", "optimizer.lr=0.25"))
    assert dummy.param_groups[0]["lr"] == 0.25
    assert dummy.param_groups[0]["params"] == []
    assert momentum_of(dummy) == momentum


@pytest.mark.parametrize(("interval", "steps"), [("step", 50), ("epoch", 3)])
def test_scheduler_steps(spec: Spec, interval: str, steps: int) -> None:
    assert scheduler_steps(spec("train.epochs=2.5", f"scheduler.interval={interval}")) == steps
