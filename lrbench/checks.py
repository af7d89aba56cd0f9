"""What a schedule does that its user may not expect, found before any training: a sentence each, with the config key and a remedy."""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lrbench.resolvers import part_bounds
from lrbench.spec import TrialSpec

if TYPE_CHECKING:
    from lrbench.schedules import Schedule

# A member of ChainedScheduler multiplies the rate that the one before left; these set it from `initial_lr` or a rate of their own.
CLOSED_FORM = ("LambdaLR", "CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR")
COMPOSITES = ("SequentialLR", "ChainedScheduler")
JUMPS_BY_DESIGN = ("CosineAnnealingWarmRestarts", "wave", "cosine_decaying_restarts", "StepLR", "MultiStepLR")
TORCH_TOTAL_ITERS = 5  # the default of LinearLR, ConstantLR and PolynomialLR


def findings(spec: TrialSpec, schedule: "Schedule") -> list[str]:
    """Return what the user of `spec` should know of its schedule before training; nothing for most."""
    return [finding for check in CHECKS for finding in check(spec, schedule)]


@dataclass(frozen=True)
class _Node:
    """A scheduler of the config, or one inside it: its class, and how often it is stepped in its part of the run."""

    key: str
    kind: str
    args: Mapping[str, Any]
    knobs: Mapping[str, Any]
    steps: int
    position: int = 0  # in the composite around it
    around: str = ""  # kind of the composite around it

    def members(self) -> Iterator["_Node"]:
        """Yield this scheduler and all that stand inside it."""
        yield self
        for position, (key, node, steps) in enumerate(self._inside()):
            args, knobs = node.get("args") or {}, node.get("knobs") or {}
            yield from _Node(f"{self.key}.args.{key}", _kind(node["_target_"]), args, knobs, steps, position, self.kind).members()

    def _inside(self) -> Iterator[tuple[str, Mapping[str, Any], int]]:
        """Yield the key, the config and the steps of each scheduler right inside this one."""
        if self.kind in COMPOSITES:
            edges = [0, *self.args.get("milestones", []), self.steps] if self.kind == "SequentialLR" else None
            for number, node in enumerate(self.args.get("schedulers", [])):
                begin, end = edges[number : number + 2] if edges else (0, self.steps)
                yield f"schedulers[{number}]", node, min(end, self.steps) - min(begin, self.steps)
        if self.kind == "sequence":
            bounds = part_bounds([part["fraction"] for part in self.args["parts"].values()], self.steps)
            for (name, part), (begin, end) in zip(self.args["parts"].items(), itertools.pairwise(bounds), strict=True):
                yield f"parts.{name}.scheduler", part["scheduler"], end - begin
        if self.kind == "product":
            for name, node in self.args["factors"].items():
                yield f"factors.{name}", node, self.steps


def _zero_before_the_end(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    lr = schedule.lr
    above = np.flatnonzero(lr > 1e-6 * lr.max())
    first = int(above[-1]) + 1 if len(above) else 0
    if len(lr) - first > 0.1 * len(lr):
        key = _written(spec, "length", "total_iters", "T_max", "final", "floor", "gamma", "start_factor", "schedulers")
        percent = 100 * (len(lr) - first) / len(lr)
        yield f"the rate is zero in the last {percent:.0f} % of the run, from step {first} of {len(lr)}: see to {key}"


def _never_decayed(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    last, peak = float(schedule.lr[-1]), float(schedule.lr.max())
    if _top(spec).kind in ("ReduceLROnPlateau", "schedule_free"):  # its rate depends on the loss; its weights are averaged
        return
    if peak and last >= 0.5 * peak:
        yield f"it never decays: the last rate is {100 * last / peak:.0f} % of the peak; scheduler=cosine, for one, ends near zero"


def _jump(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    """A change by itself: a short ramp is as steep, but over several steps, and a staircase is level before and after a fall."""
    if spec.scheduler.interval == "epoch" or any(node.kind in JUMPS_BY_DESIGN for node in _nodes(spec)):
        return
    change = np.diff(schedule.lr)
    if len(change) < 20:  # every step is a jump
        return
    size, around = np.abs(change[1:-1]), np.maximum(np.abs(change[:-2]), np.abs(change[2:]))
    staircase = (around <= 1e-12) & (change[1:-1] < 0)
    found = np.flatnonzero((size > 0.3 * schedule.lr.max()) & (size > 3 * around) & ~staircase)
    if len(found):
        step = int(found[0]) + 2
        key = _written(spec, "milestones", "parts", "schedulers", "lr_lambda", "total_iters", "step_size_down")
        before, after = schedule.lr[step - 1], schedule.lr[step]
        yield f"the rate jumps from {before:.4g} to {after:.4g} at step {step}: if that is not meant, see to {key}"


def _cosine_climbs_again(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    for node in _nodes(spec):
        t_max = _number(node, "T_max")
        if node.kind == "CosineAnnealingLR" and t_max is not None and t_max < node.steps - 1:
            key = f"{node.key}.args.T_max"
            unit = "steps" if spec.scheduler.interval == "step" else "epochs"
            yield f"{key}={t_max:g} is over before its {node.steps} {unit} are, and the rate climbs again: {key}={node.steps}"


def _cut_cycle(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    for node in _nodes(spec):
        for key, length, over, rounding in _last_cycle(node):
            missing = length - over
            if missing > max(0.02 * length, min(rounding, length / 3)):
                share = f"{100 * over / length:.0f} % of its last cycle"
                yield f"{node.key}.args.{key}={node.args[key]} does not fit the {node.steps} steps, which end after {share}: change it"


def _last_cycle(node: _Node) -> Iterator[tuple[str, float, float, float]]:
    """Yield the argument that sets it, its length, how much of it the run holds, and the steps that rounding up its parts may cost."""
    if node.kind == "CyclicLR" and (up := _number(node, "step_size_up")):
        length = up + (_number(node, "step_size_down") or up)
        cycles = math.ceil(node.steps / length)
        yield "step_size_up", length, node.steps - (cycles - 1) * length, 2 * cycles
    if node.kind == "CosineAnnealingWarmRestarts" and (length := _number(node, "T_0") or 0):
        begin, first, growth = 0.0, length, _number(node, "T_mult") or 1
        while begin + length < node.steps:
            begin, length = begin + length, length * growth
        yield "T_0", length, node.steps - begin, (begin + length) / first


def _momentum(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    if schedule.momentum is not None:
        low, high = schedule.momentum.min(), schedule.momentum.max()
        name = "optimizer.args.betas[0]" if "betas" in spec.optimizer.args else "optimizer.args.momentum"
        node = next((node for node in _nodes(spec) if node.kind in ("CyclicLR", "OneCycleLR")), _top(spec))
        key = f"{node.key}.args.cycle_momentum=false"
        yield f"the scheduler sets the momentum too, {low:.3g} to {high:.3g} in place of {name}: {key} leaves it alone"


def _lr_without_effect(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    node = _top(spec)
    max_lr = _number(node, "max_lr")
    if node.kind in ("CyclicLR", "OneCycleLR") and max_lr is not None and not math.isclose(max_lr, spec.optimizer.lr, rel_tol=1e-6):
        yield (
            f"optimizer.lr={spec.optimizer.lr:g} has no effect, as scheduler.args.max_lr={max_lr:g} is the peak: "
            "leave scheduler.args.max_lr as it was, ${rate:1.0}, and set optimizer.lr"
        )


def _one_cycle_in_sequence(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    for node in _nodes(spec):
        if (node.around, node.kind) == ("SequentialLR", "OneCycleLR"):
            yield f"{node.key} is a OneCycleLR, which rewrites the rate that all of SequentialLR begins from: scheduler=sequence does not"


def _composite_in_sequence(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    for node in _nodes(spec):
        if node.around == "SequentialLR" and node.kind in COMPOSITES:
            yield f"{node.key} is a {node.kind} inside SequentialLR, where it starts one step early: scheduler=sequence does not do that"


def _overwritten_in_chain(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    for node in _nodes(spec):
        if node.around == "ChainedScheduler" and node.position and node.kind in CLOSED_FORM:
            yield f"{node.key} is a {node.kind}, which overwrites what those before it made: put it first, or use scheduler=product"


def _cyclic_after_warm_up(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    for node in _nodes(spec):
        if (node.around, node.kind) == ("SequentialLR", "CyclicLR") and node.position:
            base = f"{node.key}.args.base_lr={node.args.get('base_lr')}"
            yield f"{base} is where the rate drops to after the warm-up: leave the warm-up out, as a CyclicLR rises by itself"


def _torch_total_iters(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    steps, fractions = _top(spec).steps, _numbers(spec.scheduler.knobs).values()
    for node in _nodes(spec):
        level = node.kind == "ConstantLR" and node.args.get("factor") == 1
        meant = node.steps == TORCH_TOTAL_ITERS or any(math.ceil(part * steps - 1e-9) == TORCH_TOTAL_ITERS for part in fractions)
        if node.kind not in ("LinearLR", "ConstantLR", "PolynomialLR") or level or meant or steps <= 50:
            continue
        if node.args.get("total_iters", TORCH_TOTAL_ITERS) == TORCH_TOTAL_ITERS:
            key = f"{node.key}.args.total_iters"
            yield f"{key}=5, torch's default, ends {node.kind} after 5 of {steps} steps: set {key}, to ${{steps:1.0}} for all of them"


def _warm_up_under_a_step(spec: TrialSpec, schedule: "Schedule") -> Iterator[str]:
    for node in _nodes(spec):
        for part, values in (("knobs", node.knobs), ("args", node.args)):
            warmup, step = _numbers(values).get("warmup", 0), 1 / max(node.steps, 1)
            if 0 < warmup < step:
                yield f"{node.key}.{part}.warmup={warmup:g} is less than one of {node.steps} steps: set it to {step:.2g} or more, or to 0"


CHECKS = (
    _zero_before_the_end,
    _never_decayed,
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


def _top(spec: TrialSpec) -> _Node:
    train = spec.train
    steps = train.total_steps if spec.scheduler.interval == "step" else math.ceil(train.total_steps / train.steps_per_epoch)
    return _Node("scheduler", _kind(spec.scheduler.target), spec.scheduler.args, spec.scheduler.knobs, steps)


def _nodes(spec: TrialSpec) -> Iterator[_Node]:
    return _top(spec).members()


def _kind(target: object) -> str:
    return str(target).rpartition(".")[2]


def _written(spec: TrialSpec, *names: str) -> str:
    """Return the key of the first of `names` that the scheduler's config has."""
    for name in names:
        for part, values in (("knobs", spec.scheduler.knobs), ("args", spec.scheduler.args)):
            if name in values:
                return f"scheduler.{part}.{name}"
    return "scheduler.args"


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)}


def _number(node: _Node, name: str) -> float | None:
    return _numbers(node.args).get(name)
