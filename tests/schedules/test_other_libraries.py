"""A translation guide that is tested: what to write here for a schedule of transformers or timm."""
# mypy: allow-untyped-calls
# (two of transformers' functions have no types)

from collections.abc import Callable

import numpy as np
import pytest
import torch
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.multistep_lr import MultiStepLRScheduler
from timm.scheduler.poly_lr import PolyLRScheduler
from timm.scheduler.scheduler import Scheduler
from timm.scheduler.step_lr import StepLRScheduler
from timm.scheduler.tanh_lr import TanhLRScheduler
from timm.scheduler.wsd_lr import WSDLRScheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer
from transformers import optimization as transformers

from lrbench.schedules.table import schedule_table
from lrbench.spec import TrialSpec

Spec = Callable[..., TrialSpec]
Call = Callable[[Optimizer], LRScheduler | Scheduler]
PEAK = 0.5
LENGTHS = {40: "train.epochs=2", 37: "train.epochs=1.85"}  # steps; of 640 images


def cases(n: int) -> dict[str, tuple[Call, list[str]]]:
    """Return, for a run of n steps, their call and our overrides.

    They count steps and rates, we fractions of the run and of the peak. Warm-ups take w steps,
    cooldowns d.
    """
    w, d = 5, 12
    wsd = ["scheduler=warmup_stable_decay", f"scheduler.args.warmup={w / n}", f"scheduler.args.cooldown={d / n}"]
    first, second = "scheduler.args.parts.first", "scheduler.args.parts.second"
    return {
        "constant": (lambda o: transformers.get_constant_schedule(o), ["scheduler=constant"]),
        "constant, warm-up": (
            lambda o: transformers.get_constant_schedule_with_warmup(o, w),
            ["scheduler=warmup_stable_decay", f"scheduler.args.warmup={w / n}", "scheduler.args.cooldown=0"],
        ),
        "linear": (lambda o: transformers.get_linear_schedule_with_warmup(o, 0, n), ["scheduler=linear"]),
        "linear, warm-up": (
            lambda o: transformers.get_linear_schedule_with_warmup(o, w, n),
            ["scheduler=warmup_linear", f"scheduler.args.warmup={w / n}"],
        ),
        "cosine, warm-up": (
            lambda o: transformers.get_cosine_schedule_with_warmup(o, w, n),
            ["scheduler=warmup_cosine", f"scheduler.args.warmup={w / n}"],
        ),
        "cosine, cycles": (
            lambda o: transformers.get_cosine_schedule_with_warmup(o, 0, n, num_cycles=1.5),
            ["scheduler=cosine_wave_from_peak", "scheduler.args.cycles=1.5"],
        ),
        "cosine, min lr": (
            lambda o: transformers.get_cosine_with_min_lr_schedule_with_warmup(o, w, n, min_lr=0.1 * PEAK),
            ["scheduler=warmup_cosine", f"scheduler.args.warmup={w / n}", "scheduler.args.floor=0.1"],
        ),
        # Not get_cosine_with_min_lr_schedule_with_warmup_lr_rate: it is one step ahead, at the
        # floor in the last step.
        "restarts": (
            lambda o: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(o, 0, n, num_cycles=3),
            [
                "scheduler=cosine_decaying_restarts",
                "scheduler.args.cycles=3",
                "scheduler.args.stretch=1",
                "scheduler.args.decay=1",
            ],
        ),
        "restarts, warm-up": (
            lambda o: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(o, w, n, num_cycles=3),
            [
                "scheduler=sequence",
                f"{first}.fraction={w / n}",
                f"scheduler@{first}.scheduler=lambda",
                f"{first}.scheduler.args.lr_lambda=progress",
                f"scheduler@{second}.scheduler=cosine_decaying_restarts",
                f"{second}.scheduler.args.decay=1",
            ],
        ),
        "polynomial": (
            lambda o: transformers.get_polynomial_decay_schedule_with_warmup(o, 0, n, lr_end=0, power=2.0),
            ["scheduler=polynomial", "scheduler.args.power=2"],
        ),
        "polynomial, lr_end": (
            lambda o: transformers.get_polynomial_decay_schedule_with_warmup(o, 0, n, lr_end=0.1 * PEAK, power=2.0),
            ["scheduler=k_decay", "scheduler.args.k=1", "scheduler.args.power=2", "scheduler.args.floor=0.1"],
        ),
        "inverse sqrt": (
            lambda o: transformers.get_inverse_sqrt_schedule(o, w),
            ["scheduler=inverse_sqrt", f"scheduler.args.warmup={w / n}"],
        ),
        "inverse sqrt, timescale": (
            lambda o: transformers.get_inverse_sqrt_schedule(o, 0, timescale=8),
            ["scheduler=inverse_time", f"scheduler.args.gamma={n / 8}", "scheduler.args.power=0.5"],
        ),
        # With some other d, ours of 1-sqrt begins its fall 1e-7 below the peak: 1 - d / n is
        # rounded, and its root is steep at 0.
        "wsd, linear": (
            lambda o: transformers.get_wsd_schedule(o, w, d, n, decay_type="linear"),
            [*wsd, "scheduler.args.shape=linear"],
        ),
        "wsd, cosine": (
            lambda o: transformers.get_wsd_schedule(o, w, d, n, decay_type="cosine"),
            [*wsd, "scheduler.args.shape=cosine"],
        ),
        "wsd, 1-sqrt": (
            lambda o: transformers.get_wsd_schedule(o, w, d, n, decay_type="1-sqrt", min_lr_ratio=0.1),
            [*wsd, "scheduler.args.shape=one_minus_sqrt", "scheduler.args.start=0.1", "scheduler.args.floor=0.1"],
        ),
        "timm cosine": (
            lambda o: CosineLRScheduler(o, n, lr_min=0.1 * PEAK),
            ["scheduler=cosine", "scheduler.knobs.floor=0.1"],
        ),
        "timm cosine, warmup_prefix": (
            lambda o: CosineLRScheduler(o, n - w, warmup_t=w, warmup_prefix=True),
            ["scheduler=warmup_cosine", f"scheduler.args.warmup={w / n}"],
        ),
        "timm cosine, warmup_t": (
            lambda o: CosineLRScheduler(o, n, warmup_t=w),  # it jumps down from the peak
            [
                "scheduler=lambda",
                f"scheduler.args.lr_lambda='step / {w} if step < {w} else (1 + cos(pi * progress)) / 2'",
            ],
        ),
        # Cycles of 10 steps and of the rest. If lr_min is not 0, theirs decays the first rate of a
        # cycle, ours its height above the floor.
        "timm cosine, cycles": (
            lambda o: CosineLRScheduler(o, 10, cycle_mul=n / 10 - 1, cycle_decay=0.5, cycle_limit=2),
            [
                "scheduler=cosine_decaying_restarts",
                "scheduler.args.cycles=2",
                f"scheduler.args.stretch={n / 10 - 1}",
                "scheduler.args.decay=0.5",
            ],
        ),
        "timm cosine, k_decay": (
            lambda o: CosineLRScheduler(o, n, lr_min=0.1 * PEAK, k_decay=1.5),
            ["scheduler=k_decay_cosine", "scheduler.args.k=1.5", "scheduler.args.floor=0.1"],
        ),
        "timm poly": (lambda o: PolyLRScheduler(o, n), ["scheduler=polynomial", "scheduler.args.power=0.5"]),
        "timm poly, k_decay": (
            lambda o: PolyLRScheduler(o, n, power=2.0, lr_min=0.1 * PEAK, k_decay=1.5),
            ["scheduler=k_decay", "scheduler.args.k=1.5", "scheduler.args.power=2", "scheduler.args.floor=0.1"],
        ),
        "timm step": (
            lambda o: StepLRScheduler(o, decay_t=d, decay_rate=0.3),
            ["scheduler=step", f"scheduler.args.step_size={d}", "scheduler.args.gamma=0.3"],
        ),
        "timm multistep": (
            lambda o: MultiStepLRScheduler(o, decay_t=[21, 31], decay_rate=0.3),  # counted from 1
            ["scheduler=multi_step", "scheduler.args.milestones=[20,30]", "scheduler.args.gamma=0.3"],
        ),
        # Its first step is at the peak, the formula's a little below
        "timm tanh": (
            lambda o: TanhLRScheduler(o, n, lb=-7.0, ub=3.0),
            ["scheduler=lambda", "scheduler.args.lr_lambda='(1 - tanh(10 * progress - 7)) / 2 if step > 0 else 1'"],
        ),
        "timm wsd": (
            lambda o: WSDLRScheduler(o, n - w, d, lr_min=0.1 * PEAK, warmup_t=w, warmup_lr_init=0.2 * PEAK),
            [*wsd, "scheduler.args.start=0.2", "scheduler.args.floor=0.1"],
        ),
    }


def rates(call: Call, steps: int) -> list[float]:
    """Return the rate of each optimizer step while the scheduler is stepped after it, as its
    library has it.
    """
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler, used = call(optimizer), []
    for step in range(steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if isinstance(scheduler, LRScheduler) else scheduler.step(step + 1)
    return used


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("name", cases(40))
def test_ours_is_theirs(spec: Spec, name: str, steps: int) -> None:
    call, overrides = cases(steps)[name]
    lr = schedule_table(spec(*overrides, LENGTHS[steps], f"optimizer.lr={PEAK}")).lr
    np.testing.assert_allclose(lr, rates(call, steps), rtol=0, atol=1e-12 * PEAK)
