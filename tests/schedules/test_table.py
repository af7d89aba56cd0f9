import functools
import inspect
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from lrbench.config.compose import load_config, parse_spec
from lrbench.config.targets import locate
from lrbench.schedules.table import schedule_table
from lrbench.spec import ConfigError, TrialSpec
from tests.conftest import ROOT, SMALL

Spec = Callable[..., TrialSpec]
SCHEDULERS = sorted(path.stem for path in (ROOT / "conf" / "scheduler").glob("*.yaml"))
STEPS, PEAK = 40, 0.5
LENGTH = ("train.epochs=2", f"optimizer.lr={PEAK}")  # 640 images

# Each scheduler as a user of torch would write it down for 40 steps and a peak rate of 0.5.
BY_HAND: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "constant": lambda o: lr_scheduler.ConstantLR(o, factor=1.0, total_iters=40),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.02 ** (step / 40)),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, total_iters=40, power=1.0),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=40),
    "cosine_warm_restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=14, T_mult=2),
    "cyclic": lambda o: lr_scheduler.CyclicLR(
        o, base_lr=0.01, max_lr=0.5, step_size_up=10, step_size_down=10, cycle_momentum=False
    ),
    "one_cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.5, total_steps=40, cycle_momentum=False),
    "step": lambda o: lr_scheduler.StepLR(o, step_size=14, gamma=0.1),
    "multi_step": lambda o: lr_scheduler.MultiStepLR(o, milestones=[20, 30], gamma=0.1),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, gamma=0.02 ** (1 / 40)),
    "multiplicative": lambda o: lr_scheduler.MultiplicativeLR(o, lambda step: 0.02 ** (2 * step / 1600)),
    "warmup": lambda o: lr_scheduler.LinearLR(o, start_factor=0.1, end_factor=1.0, total_iters=40),
    "linear": lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=40),
    "triangular2": lambda o: lr_scheduler.CyclicLR(
        o, base_lr=0.01, max_lr=0.5, step_size_up=10, step_size_down=10, mode="triangular2", cycle_momentum=False
    ),
    "exp_range": lambda o: lr_scheduler.CyclicLR(
        o,
        base_lr=0.01,
        max_lr=0.5,
        step_size_up=10,
        step_size_down=10,
        mode="exp_range",
        gamma=0.1 ** (1 / 40),
        cycle_momentum=False,
    ),
    "one_cycle_linear": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=0.5, total_steps=40, anneal_strategy="linear", cycle_momentum=False
    ),
    "one_cycle_three_phase": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=0.5, total_steps=40, pct_start=0.4, cycle_momentum=False, three_phase=True
    ),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.LinearLR(o, 0.1, 1.0, total_iters=4), lr_scheduler.CosineAnnealingLR(o, T_max=36)],
        milestones=[4],
    ),
    "chained": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, 0.1, 1.0, total_iters=4), lr_scheduler.ExponentialLR(o, gamma=0.02 ** (1 / 40))]
    ),
}


@functools.cache
def composed(name: str) -> DictConfig:
    """Return the config of a run, which no test changes. Composing takes longer than a table."""
    return load_config("config", [*SMALL, f"scheduler={name}", *LENGTH])


@pytest.mark.filterwarnings(
    "ignore:The epoch parameter in `scheduler.step:UserWarning"
)  # torch's SequentialLR on itself
@pytest.mark.parametrize("name", BY_HAND)
def test_table_is_torch_stepped_by_hand(spec: Spec, name: str) -> None:
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=PEAK, momentum=0.9)
    scheduler = BY_HAND[name](optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(rates) < STEPS else None
    np.testing.assert_allclose(schedule_table(spec(f"scheduler={name}", *LENGTH)).lr, rates, rtol=0, atol=1e-12)


def test_every_scheduler_of_torch_is_written_by_hand() -> None:
    targets = {
        path.stem: yaml.safe_load(path.read_text())["_target_"] for path in (ROOT / "conf" / "scheduler").glob("*.yaml")
    }
    of_torch = {name for name, target in targets.items() if target.startswith("torch.")}
    assert of_torch == {*BY_HAND, "plateau"}  # plateau has no table: see test_plateau.py


@pytest.mark.parametrize("name", [*BY_HAND, "plateau"])
def test_every_argument_of_torch_is_in_the_file(name: str) -> None:
    """Except `last_epoch`, which resumes a scheduler, but a table is never resumed."""
    node = yaml.safe_load((ROOT / "conf" / "scheduler" / f"{name}.yaml").read_text())
    known = set(inspect.signature(locate(node["_target_"])).parameters) - {"optimizer", "last_epoch"}
    assert set(node["args"]) == known


def test_every_scheduler_of_torch_is_here() -> None:
    targets = {yaml.safe_load(path.read_text())["_target_"] for path in (ROOT / "conf" / "scheduler").glob("*.yaml")}
    classes = {
        name
        for name, value in vars(lr_scheduler).items()
        if inspect.isclass(value) and issubclass(value, lr_scheduler.LRScheduler)
    }
    assert classes - {"LRScheduler", "_LRScheduler"} == {
        target.rpartition(".")[2] for target in targets if target.startswith("torch.")
    }


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler(name: str) -> None:
    """Each value is finite and from 0 to the peak. A second table is the same.

    The tables of three lengths have the same shape.
    """
    cfg = composed(name)
    tables = {}
    for epochs in (2, 20, 200):
        run = parse_spec(cfg, {"train.epochs": float(epochs)})
        lr = tables[epochs] = schedule_table(run).lr
        assert len(lr) == 20 * epochs
        assert np.isfinite(lr).all() and (lr >= 0).all() and lr.max() <= PEAK * (1 + 1e-9)
        np.testing.assert_array_equal(lr, schedule_table(run).lr)
    assert cfg.scheduler.name == name
    _assert_same_shape(tables[2], tables[200])
    _assert_same_shape(tables[20], tables[200])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_in_epochs(name: str) -> None:
    """It keeps its rate for an epoch, and has the same shape as in steps."""
    intervals = ("step", "epoch")
    runs = {key: parse_spec(composed(name), {"train.epochs": 40.0, "scheduler.interval": key}) for key in intervals}
    lr = {interval: schedule_table(run).lr for interval, run in runs.items()}
    np.testing.assert_array_equal(lr["epoch"], np.repeat(lr["epoch"][::20], 20))
    _assert_same_shape(lr["epoch"][::20], lr["step"])


def _assert_same_shape(coarse: np.ndarray, fine: np.ndarray) -> None:
    """Check that the fine curve has each coarse value within two coarse steps.

    Lengths are rounded to whole steps, so the values cannot be equal.
    """
    ratio = len(fine) // len(coarse)
    for number, value in enumerate(coarse):
        around = fine[max(0, (number - 2) * ratio) : (number + 2) * ratio + 1]
        assert around.min() - 1e-3 * PEAK <= value <= around.max() + 1e-3 * PEAK, number


@pytest.mark.parametrize("name", SCHEDULERS)
def test_rate_follows_the_peak(name: str) -> None:
    cfg = composed(name)
    one, two = (schedule_table(parse_spec(cfg, {"optimizer.lr": lr})).lr for lr in (0.25, 0.5))
    np.testing.assert_allclose(two, 2 * one, atol=1e-12)


def test_interval_epoch_holds_the_rate_for_an_epoch(spec: Spec) -> None:
    lr = schedule_table(spec("scheduler=cosine", *LENGTH, "train.epochs=4.5", "scheduler.interval=epoch")).lr
    assert len(lr) == 90
    np.testing.assert_allclose(
        lr[::20], [PEAK / 2 * (1 + math.cos(math.pi * epoch / 5)) for epoch in range(5)], atol=1e-12
    )
    assert (lr[20:40] == lr[20]).all()


def test_momentum_is_in_the_table_only_where_it_is_cycled(spec: Spec) -> None:
    assert schedule_table(spec("scheduler=one_cycle", *LENGTH)).momentum is None
    cycled = schedule_table(spec("scheduler=one_cycle", "scheduler.args.cycle_momentum=true", *LENGTH)).momentum
    assert cycled is not None
    assert (cycled.max(), cycled.min()) == (pytest.approx(0.95), pytest.approx(0.85, abs=1e-3))
    beta1 = schedule_table(
        spec("scheduler=one_cycle", "scheduler.args.cycle_momentum=true", "optimizer=adamw", *LENGTH)
    ).momentum
    assert beta1 is not None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["scheduler=lambda", "scheduler.args.lr_lambda='1 - 2 * progress'"], "got -0.025 at step 21 of 40"),
        (["scheduler=lambda", "scheduler.args.lr_lambda='log(progress)'"], "has no value at"),
        (["scheduler=lambda", "scheduler.args.lr_lambda='1 / step'"], "division by zero"),
        (["scheduler=one_cycle", "scheduler.args.pct_start=2"], "between 0 and 1"),
        (["scheduler=one_cycle", "scheduler.args.total_steps=10"], "Tried to step"),
        (["scheduler=cyclic", "scheduler.args.mode=square"], "mode is invalid"),
        (["scheduler=cosine", "scheduler.args.T_max=0"], "must not be 0"),
        (["scheduler._target_=torch.optim.lr_scheduler.NoSuchLR"], "must be a class or function"),
        (["scheduler._target_=torch.optim.lr_scheduler.partial"], "must be a class or function that torch defines"),
        (["scheduler._target_=torch.optim.lr_scheduler.torch.load"], "must be a class or function"),
        (["scheduler._target_=torch.optim.lr_scheduler.StepLR"], "unknown argument"),
    ],
)
def test_what_cannot_run_is_a_config_error(spec: Spec, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        schedule_table(spec(*LENGTH, *overrides))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_search_space_holds_the_peak_rate_and_its_corners_run(name: str) -> None:
    from lrbench.search.space import search_space

    cfg = composed(name)
    space = search_space(cfg)
    assert "optimizer.lr" in space
    for corner in itertools.product(*(_ends(parameter.distribution) for parameter in space.values())):
        schedule_table(parse_spec(cfg, dict(zip(space, corner, strict=True))))


def _ends(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return distribution.low, distribution.high
