"""Warnings about surprising schedules, before any training.

Each is one sentence with the config key and a remedy.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lrbench.schedules.plateau import is_live
from lrbench.schedules.table import Schedule, own_optimizer
from lrbench.schedules.tree import COMPOSITES, Node, all_nodes, number_of, numbers_of, top_node
from lrbench.spec import TrialSpec

# A member of ChainedScheduler should multiply the learning rate that the member before it set.
# These classes compute it from `initial_lr` or from an argument instead.
CLOSED_FORM = ("LambdaLR", "CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR")
RESTARTS = ("CosineAnnealingWarmRestarts", "wave", "cosine_decaying_restarts")  # they jump up by design
STAIRCASES = ("StepLR", "MultiStepLR")  # they jump down by design
WITH_TOTAL_ITERS = ("LinearLR", "ConstantLR", "PolynomialLR")
TORCH_TOTAL_ITERS = 5  # the default of these three


def schedule_warnings(spec: TrialSpec, schedule: Schedule) -> list[str]:
    """Return the warnings about a schedule. Most schedules give no warning."""
    return [warning for check in CHECKS for warning in check(spec, schedule)]


def _zero_before_the_end(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    lr = schedule.lr
    above_zero = np.flatnonzero(lr > 1e-6 * lr.max())
    first = int(above_zero[-1]) + 1 if len(above_zero) else 0
    share = (len(lr) - first) / len(lr)
    if share > 0.1:
        key = _first_key(
            spec, "length", "total_iters", "T_max", "final", "floor", "gamma", "start_factor", "schedulers"
        )
        yield (
            f"the learning rate is zero in the last {100 * share:.0f} % of the run, from step {first} of {len(lr)}: "
            f"set {key} so that the decay takes the whole run"
        )


def _never_decayed(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    if is_live(spec) or own_optimizer(spec.scheduler.target):
        return  # the first decays when the loss stalls, the second needs no decay
    if len(schedule.lr) < 3 or _peak_factor(spec, schedule) or any(_cosine_climbs_again(spec, schedule)):
        return  # too short for any decay, or another warning says what happens
    last, peak = float(schedule.lr[-1]), float(schedule.lr.max())
    if peak and last >= 0.5 * peak:
        percent = f"{100 * last / peak:.0f} %"
        yield f"the last learning rate is {percent} of the peak: set scheduler=cosine to end near zero"


def _jump(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    """Find a single large change of the rate. Short ramps and staircases do not count.

    A short ramp is as steep, but over several steps. A staircase is level before and after a fall.
    """
    kinds = {node.kind for node in all_nodes(spec)}
    if spec.scheduler.interval == "epoch" or kinds & set(RESTARTS) or _peak_factor(spec, schedule):
        return
    change = np.diff(schedule.lr)
    if len(change) < 20:  # in so few steps, every change is large
        return
    size, around = np.abs(change[1:-1]), np.maximum(np.abs(change[:-2]), np.abs(change[2:]))
    staircase = (change[1:-1] < 0) & ((around <= 1e-12) | bool(kinds & set(STAIRCASES)))
    jumps = np.flatnonzero((size > 0.3 * schedule.lr.max()) & (size > 3 * around) & ~staircase)
    if len(jumps):
        step = int(jumps[0]) + 2
        key = _first_key(spec, "milestones", "parts", "schedulers", "lr_lambda", "total_iters", "step_size_down")
        before, after = schedule.lr[step - 1], schedule.lr[step]
        yield (
            f"the learning rate jumps from {before:.4g} to {after:.4g} at step {step}: "
            f"set {key} to another value, unless you want the jump"
        )


def _above_the_peak(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    factor, peak = _peak_factor(spec, schedule), f"optimizer.lr={spec.optimizer.lr:g}"
    if not factor:
        return
    found = f"the learning rate reaches {factor:.3g} times the peak rate {peak}"
    for node in all_nodes(spec):
        numbers, peak_rate = numbers_of(node.args), spec.optimizer.lr
        rules = {
            "eta_min": (numbers.get("eta_min", 0) > peak_rate, "at most optimizer.lr"),
            "base_lr": (numbers.get("base_lr", 0) > peak_rate, "at most optimizer.lr"),
            "gamma": (numbers.get("gamma", 1) > 1, "at most 1"),
            "power": (numbers.get("power", 1) < 0, "at least 0"),
        }
        for name, (is_broken, rule) in rules.items():
            if is_broken:
                yield f"{found}: set {node.key}.args.{name}, now {numbers[name]:g}, to {rule}"
                return
    yield f"{found}: set {_first_key(spec, 'lr_lambda', 'floor', 'schedulers', 'parts', 'factors')} so that it does not"


def _peak_factor(spec: TrialSpec, schedule: Schedule) -> float | None:
    """Return the highest rate divided by the peak rate of the config, None if it is at most 1.

    Also None if `max_lr` replaces the peak rate, which is another warning.
    """
    factor = float(schedule.lr.max()) / spec.optimizer.lr
    return None if factor <= 1 + 1e-6 or any(_lr_without_effect(spec, schedule)) else factor


def _plateau(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    node, lr = top_node(spec), spec.optimizer.lr
    if node.kind != "ReduceLROnPlateau":
        return
    if node.args.get("mode") == "max":
        yield "scheduler.args.mode=max cuts the rate while the loss falls: set scheduler.args.mode=min"
    min_lr = number_of(node, "min_lr")
    if min_lr is not None and min_lr > lr:
        yield (
            f"scheduler.args.min_lr={min_lr:g} is above the peak rate optimizer.lr={lr:g}, so the first cut raises "
            "the rate: set scheduler.args.min_lr to less"
        )


def _unit(spec: TrialSpec) -> str:
    """Return the unit of a scheduler's lengths."""
    return "steps" if spec.scheduler.interval == "step" else "epochs"


def _cosine_climbs_again(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    unit = _unit(spec)
    for node in all_nodes(spec):
        t_max = number_of(node, "T_max")
        if node.kind == "CosineAnnealingLR" and t_max is not None and t_max < node.steps - 1:
            key = f"{node.key}.args.T_max"
            back = 0.5 - 0.5 * math.cos(math.pi * min((node.steps - 1) / t_max - 1, 1))
            yield (
                f"{key}={t_max:g} is less than the {node.steps} {unit} of the scheduler, so the learning rate climbs "
                f"again, by {100 * back:.0f} % of the fall: set {key}={node.steps}"
            )


def _cut_cycle(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    unit = _unit(spec)
    for node in all_nodes(spec):
        cycle = _last_cycle(node)
        if cycle and cycle.is_cut():
            key = f"{node.key}.args.{cycle.argument}"
            yield (
                f"{key}={node.args[cycle.argument]} does not fit the {node.steps} {unit}, because the last cycle is "
                f"only {100 * cycle.finished / cycle.length:.0f} % complete: set {key} so that the last cycle is whole"
            )


@dataclass(frozen=True)
class _Cycle:
    """The last cycle of a cyclic scheduler, in steps.

    `argument` is the argument that sets its `length`, of which `finished` steps are inside the run.
    Up to `rounding` steps can be missing because lengths are rounded up.
    """

    argument: str
    length: float
    finished: float
    rounding: float

    def is_cut(self) -> bool:
        """Return True if a part is missing, and not only because of the rounding."""
        return self.length - self.finished > max(0.02 * self.length, min(self.rounding, self.length / 3))


def _last_cycle(node: Node) -> _Cycle | None:
    """Return the last cycle of a scheduler, None if it is not cyclic."""
    if node.kind == "CyclicLR" and (up := number_of(node, "step_size_up")):
        length = up + (number_of(node, "step_size_down") or up)
        cycles = math.ceil(node.steps / length)
        return _Cycle("step_size_up", length, node.steps - (cycles - 1) * length, 2 * cycles)
    if node.kind == "CosineAnnealingWarmRestarts" and (length := number_of(node, "T_0") or 0):
        begin, first, growth = 0.0, length, number_of(node, "T_mult") or 1
        while begin + length < node.steps:
            begin, length = begin + length, length * growth
        return _Cycle("T_0", length, node.steps - begin, (begin + length) / first)
    return None


def _momentum(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    if schedule.momentum is None:
        return
    low, high = schedule.momentum.min(), schedule.momentum.max()
    replaced = "optimizer.args.betas[0]" if "betas" in spec.optimizer.args else "optimizer.args.momentum"
    node = next((node for node in all_nodes(spec) if node.kind in ("CyclicLR", "OneCycleLR")), top_node(spec))
    yield (
        f"the scheduler also sets the momentum, {low:.3g} to {high:.3g} instead of {replaced}: "
        f"set {node.key}.args.cycle_momentum=false to keep it constant"
    )


def _lr_without_effect(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    node, lr = top_node(spec), spec.optimizer.lr
    max_lr = number_of(node, "max_lr")
    if node.kind not in ("CyclicLR", "OneCycleLR") or max_lr is None or math.isclose(max_lr, lr, rel_tol=1e-6):
        return
    yield (
        f"optimizer.lr={lr:g} has no effect, because scheduler.args.max_lr={max_lr:g} is the peak: "
        "set optimizer.lr, and leave scheduler.args.max_lr at its default, ${rate:1.0}"
    )


def _one_cycle_in_sequence(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    for node in all_nodes(spec):
        if (node.around, node.kind) == ("SequentialLR", "OneCycleLR"):
            yield (
                f"{node.key} is a OneCycleLR, which changes the learning rate that all members of SequentialLR "
                "start from: set scheduler=sequence, which has no such effect"
            )


def _composite_in_sequence(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    for node in all_nodes(spec):
        if node.around == "SequentialLR" and node.kind in COMPOSITES:
            yield (
                f"{node.key} is a {node.kind} inside SequentialLR, which starts it one step early: "
                "set scheduler=sequence, which starts it on time"
            )


def _overwritten_in_chain(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    for node in all_nodes(spec):
        if node.around == "ChainedScheduler" and node.position and node.kind in CLOSED_FORM:
            yield (
                f"{node.key} is a {node.kind}, which overwrites the learning rate of the members before it: "
                "put it first, or set scheduler=product"
            )


def _cyclic_after_warm_up(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    for node in all_nodes(spec):
        if (node.around, node.kind) == ("SequentialLR", "CyclicLR") and node.position:
            yield (
                f"after the warm-up, the learning rate drops to {node.key}.args.base_lr={node.args.get('base_lr')}: "
                "set scheduler=cyclic without a warm-up, because a CyclicLR itself begins with a rise"
            )


def _torch_total_iters(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    for node in all_nodes(spec):
        level = node.kind == "ConstantLR" and node.args.get("factor") == 1
        if node.kind not in WITH_TOTAL_ITERS or level or _is_five_steps_by_choice(spec, node):
            continue
        if node.args.get("total_iters", TORCH_TOTAL_ITERS) == TORCH_TOTAL_ITERS:
            key = f"{node.key}.args.total_iters"
            yield (
                f"{key}=5, torch's default, ends {node.kind} after 5 of {top_node(spec).steps} {_unit(spec)}: "
                f"set {key}=${{steps:1.0}} for the whole run, or another length"
            )


def _is_five_steps_by_choice(spec: TrialSpec, node: Node) -> bool:
    """Return True if five steps are the whole part, most of a short run, or the value of a knob."""
    run_steps = top_node(spec).steps
    if node.steps == TORCH_TOTAL_ITERS or run_steps <= 50:
        return True
    fractions = numbers_of(spec.scheduler.knobs).values()
    return any(math.ceil(fraction * run_steps - 1e-9) == TORCH_TOTAL_ITERS for fraction in fractions)


def _warm_up_under_a_step(spec: TrialSpec, schedule: Schedule) -> Iterator[str]:
    for node in all_nodes(spec):
        for section, values in (("knobs", node.knobs), ("args", node.args)):
            warmup, step = numbers_of(values).get("warmup", 0), 1 / max(node.steps, 1)
            if 0 < warmup < step:
                key = f"{node.key}.{section}.warmup"
                yield (
                    f"{key}={warmup:g} is less than one of the {node.steps} {_unit(spec)}: "
                    f"set {key} to {step:.2g} or more, or to 0"
                )


CHECKS = (
    _zero_before_the_end,
    _never_decayed,
    _above_the_peak,
    _plateau,
    _jump,
    _cosine_climbs_again,
    _cut_cycle,
    _momentum,
    _lr_without_effect,
    _one_cycle_in_sequence,
    _composite_in_sequence,
    _overwritten_in_chain,
    _cyclic_after_warm_up,
    _torch_total_iters,
    _warm_up_under_a_step,
)


def _first_key(spec: TrialSpec, *names: str) -> str:
    """Return the key of the first of `names` that the scheduler's config has."""
    for name in names:
        for section, values in (("knobs", spec.scheduler.knobs), ("args", spec.scheduler.args)):
            if name in values:
                return f"scheduler.{section}.{name}"
    return "scheduler.args"
