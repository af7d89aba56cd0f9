"""Formulas of the schedules that torch lacks, as factors of the peak learning rate.

Each function takes `step`, an array of the scheduler's steps 0 to `total_steps - 1`. It returns
their factors: float64, the same shape, 0 to 1. The other arguments are fractions or counts, never
steps, so a schedule means the same at every length.

In the formulas, progress p is `step / total_steps`. "First" and "last" are the factors of the first
and the last step. Progress reaches 1 only after the last step, so the last factor is one step away
from the value at the end. Each function raises a ValueError that names the config key if an
argument is invalid.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.int_]
Floats = NDArray[np.float64]

# Functions of the finished part of a cooldown, 0 to 1.
COOLDOWNS: dict[str, Callable[[Floats], Floats]] = {
    "linear": lambda part: 1 - part,
    "cosine": lambda part: (1 + np.cos(math.pi * part)) / 2,
    "one_minus_sqrt": lambda part: 1 - np.sqrt(part),
}
# Functions of the finished part of a cycle, 0 to 1.
# The first three rise and fall, the others fall and jump.
WAVES: dict[str, Callable[[Floats], Floats]] = {
    "triangle": lambda part: 1 - np.abs(1 - 2 * part),
    "sine": lambda part: np.sin(math.pi * part),
    "cosine": lambda part: (1 - np.cos(2 * math.pi * part)) / 2,
    "sawtooth": lambda part: 1 - part,
    "sine_sawtooth": lambda part: np.sin(math.pi / 2 * (1 - part)),
    "cosine_sawtooth": lambda part: (1 + np.cos(math.pi * part)) / 2,
}


def replaces_optimizer(builder: str, same_rates: str) -> Callable[[Callable[..., Floats]], Callable[..., Floats]]:
    """Mark a function whose scheduler replaces the optimizer of the config.

    `builder` is the dotted name of a function `(spec, net) -> Optimizers`. `same_rates` is a
    scheduler with the same learning rates for any optimizer.
    """

    def mark(function: Callable[..., Floats]) -> Callable[..., Floats]:
        function.optimizer_builder = builder  # type: ignore[attr-defined]  # both are read by schedules.table
        function.same_rates = same_rates  # type: ignore[attr-defined]
        return function

    return mark


def warmup_constant(step: Steps, total_steps: int, *, warmup: float, start: float) -> Floats:
    """Linear warm-up, then the peak.

    `start + (1 - start) * min(p / warmup, 1)` at progress p. First: `start`, or 1 without a
    warm-up; last: 1. Goyal et al. 2017 (https://arxiv.org/abs/1706.02677) for the warm-up.

    >>> warmup_constant(np.arange(5), 5, warmup=0.4, start=0.0).round(3).tolist()
    [0.0, 0.5, 1.0, 1.0, 1.0]
    """
    _fractions(warmup=warmup, start=start)
    return _warm_up(step / total_steps, warmup, start)


@replaces_optimizer("lrbench.training.schedule_free.build", same_rates="warmup_constant")
def schedule_free(
    step: Steps, total_steps: int, *, warmup: float, start: float, beta: float, average_power: float, rate_power: float
) -> Floats:
    """Linear warm-up, then the peak, for the optimizer of Schedule-Free.

    `start + (1 - start) * min(p / warmup, 1)` at progress p, as warmup_constant. First: `start`, or
    1 without a warm-up; last: 1. The other arguments belong to the optimizer, which averages the
    weights, so the rate needs no decay. The optimizer computes the gradient between its newest
    weights (`beta` 0) and their average (`beta` 1). The weight of a step in the average is a power
    of its number (`average_power`) times a power of the highest rate so far (`rate_power`). Defazio
    et al. 2024 (https://arxiv.org/abs/2405.15682).

    >>> args = dict(warmup=0.4, start=0.0, beta=0.9, average_power=0.0, rate_power=2.0)
    >>> factors = schedule_free(np.arange(5), 5, **args)
    >>> factors.round(3).tolist()
    [0.0, 0.5, 1.0, 1.0, 1.0]
    """
    _within(0.001, 0.999, beta=beta)
    _within(0, 100, average_power=average_power, rate_power=rate_power)
    return warmup_constant(step, total_steps, warmup=warmup, start=start)


def warmup_cosine(step: Steps, total_steps: int, *, warmup: float, start: float, floor: float) -> Floats:
    """Linear warm-up, then half a cosine to a floor.

    `start + (1 - start) * p / warmup`, then
    `floor + (1 - floor) * (1 + cos(pi * (p - warmup) / (1 - warmup))) / 2` at progress p. First:
    `start`, or 1 without a warm-up; last: one step above `floor`. Goyal et al. 2017
    (https://arxiv.org/abs/1706.02677) for the warm-up, Loshchilov & Hutter 2016
    (https://arxiv.org/abs/1608.03983) for the cosine.

    >>> warmup_cosine(np.arange(5), 5, warmup=0.2, start=0.1, floor=0.0).round(3).tolist()
    [0.1, 1.0, 0.854, 0.5, 0.146]
    """
    _fractions(warmup=warmup, start=start, floor=floor)
    progress = step / total_steps
    return _warm_up(progress, warmup, start) * _to_floor(COOLDOWNS["cosine"](_part(progress, warmup, 1)), floor)


def warmup_linear(step: Steps, total_steps: int, *, warmup: float, start: float, floor: float) -> Floats:
    """Linear warm-up, then a line to a floor.

    `start + (1 - start) * p / warmup`, then `1 - (1 - floor) * (p - warmup) / (1 - warmup)` at
    progress p. First: `start`, or 1 without a warm-up; last: one step above `floor`. Devlin et al.
    2018 (https://arxiv.org/abs/1810.04805); with floor 0: Bergsma et al. 2025
    (https://arxiv.org/abs/2502.15938).

    >>> warmup_linear(np.arange(5), 5, warmup=0.2, start=0.1, floor=0.0).round(3).tolist()
    [0.1, 1.0, 0.75, 0.5, 0.25]
    """
    _fractions(warmup=warmup, start=start, floor=floor)
    progress = step / total_steps
    return _warm_up(progress, warmup, start) * _to_floor(1 - _part(progress, warmup, 1), floor)


def warmup_hold_cosine(
    step: Steps, total_steps: int, *, warmup: float, hold: float, start: float, floor: float
) -> Floats:
    """Linear warm-up, the peak for `hold` of the run, then half a cosine to a floor.

    As warmup_cosine, but the cosine takes `(p - warmup - hold) / (1 - warmup - hold)` at progress
    p. First: `start`, or 1 without a warm-up; last: one step above `floor`. NeMo's CosineAnnealing
    with constant_steps (https://github.com/NVIDIA-NeMo/NeMo). Without a warm-up it is fastai's
    fit_flat_cos (https://docs.fast.ai/callback.schedule.html).

    >>> factors = warmup_hold_cosine(np.arange(5), 5, warmup=0.2, hold=0.4, start=0.1, floor=0.0)
    >>> factors.round(3).tolist()
    [0.1, 1.0, 1.0, 1.0, 0.5]
    """
    _fractions(warmup=warmup, hold=hold, start=start, floor=floor)
    _fit_in_the_run(warmup=warmup, hold=hold)
    progress = step / total_steps
    return _warm_up(progress, warmup, start) * _to_floor(COOLDOWNS["cosine"](_part(progress, warmup + hold, 1)), floor)


def warmup_stable_decay(
    step: Steps, total_steps: int, *, warmup: float, cooldown: float, shape: str, start: float, floor: float
) -> Floats:
    """WSD: linear warm-up, the peak, then a cooldown to a floor.

    The cooldown takes the last `cooldown` of the run. Its factor is `floor + (1 - floor) * f(d)`
    with d, 0 to 1, the finished part of the cooldown. f(d) is `1 - d` (linear),
    `(1 + cos(pi * d)) / 2` (cosine) or `1 - sqrt(d)` (one_minus_sqrt). First: `start`, or 1 without
    a warm-up; last: one step above `floor`. Haegele et al. 2024 (https://arxiv.org/abs/2405.18392)
    report that one_minus_sqrt is the best.

    >>> args = dict(warmup=0.2, cooldown=0.4, shape="one_minus_sqrt", start=0.1, floor=0.0)
    >>> factors = warmup_stable_decay(np.arange(5), 5, **args)
    >>> factors.round(3).tolist()
    [0.1, 1.0, 1.0, 1.0, 0.293]
    """
    _fractions(warmup=warmup, cooldown=cooldown, start=start, floor=floor)
    _one_of(COOLDOWNS, shape=shape)
    _fit_in_the_run(warmup=warmup, cooldown=cooldown)
    progress = step / total_steps
    return _warm_up(progress, warmup, start) * _to_floor(COOLDOWNS[shape](_part(progress, 1 - cooldown, 1)), floor)


def rex(step: Steps, total_steps: int, *, beta: float) -> Floats:
    """REX: slow decay that quickens towards the end.

    `(1 - p) / (1 - beta * p)` at progress p. With beta 1/2 it is the paper's
    `(1 - p) / (1/2 + (1 - p) / 2)`, with beta 0 a line, and with beta 1 the peak throughout. First:
    1; last: one step above 0. Chen, Wolfe & Kyrillidis 2021 (https://arxiv.org/abs/2107.04197).

    >>> rex(np.arange(5), 5, beta=0.5).round(3).tolist()
    [1.0, 0.889, 0.75, 0.571, 0.333]
    """
    _fractions(beta=beta)
    progress = step / total_steps
    return (1 - progress) / (1 - beta * progress)


def inverse_sqrt(step: Steps, total_steps: int, *, warmup: float, start: float) -> Floats:
    """Linear warm-up, then decay with the inverse square root of the step.

    `start + (1 - start) * p / warmup`, then `sqrt(warmup / p)` at progress p. First: `start`; last:
    about `sqrt(warmup)`. Vaswani et al. 2017, section 5.3 (https://arxiv.org/abs/1706.03762).

    >>> inverse_sqrt(np.arange(5), 5, warmup=0.2, start=0.1).round(3).tolist()
    [0.1, 1.0, 0.707, 0.577, 0.5]
    """
    _fractions(warmup=warmup, start=start)
    _positive(warmup=warmup)
    progress = step / total_steps
    return _warm_up(progress, warmup, start) * np.sqrt(warmup / np.maximum(progress, warmup))


def cosine_decaying_restarts(
    step: Steps, total_steps: int, *, cycles: int, stretch: float, decay: float, floor: float
) -> Floats:
    """Half cosines to a floor, each with a lower peak and longer than the previous one.

    `floor + (1 - floor) * decay**i * (1 + cos(pi * q)) / 2` with i the cycle, from 0, and q its
    finished part. A cycle is `stretch` times as long as the previous one. First: 1; last: one step
    above `floor`. SGDR (Loshchilov & Hutter 2016, https://arxiv.org/abs/1608.03983) with Keras's
    m_mul (https://keras.io/api/optimizers/learning_rate_schedules/cosine_decay_restarts/).

    >>> args = dict(cycles=2, stretch=2.0, decay=0.5, floor=0.0)
    >>> factors = cosine_decaying_restarts(np.arange(6), 6, **args)
    >>> factors.round(3).tolist()
    [1.0, 0.5, 0.5, 0.427, 0.25, 0.073]
    """
    _fractions(decay=decay, floor=floor)
    _whole(1, 100, cycles=cycles)
    _within(1, 10, stretch=stretch)
    progress = step / total_steps
    lengths = float(stretch) ** np.arange(cycles)
    edges = np.append(0, np.cumsum(lengths)) / lengths.sum()
    cycle = np.searchsorted(edges[1:-1], progress, side="right")
    part = (progress - edges[cycle]) / (edges[cycle + 1] - edges[cycle])
    return _to_floor(decay**cycle * COOLDOWNS["cosine"](part), floor)


def exponential_to_floor(step: Steps, total_steps: int, *, length: float, floor: float) -> Floats:
    """Exponential decay to a floor in `length` of the run, then the floor.

    `floor ** min(p / length, 1)` at progress p. First: 1; last: `floor`, or one step above it if
    the length is 1. optax's exponential_decay with end_value
    (https://optax.readthedocs.io/en/latest/api/optimizer_schedules.html).

    >>> exponential_to_floor(np.arange(5), 5, length=0.4, floor=0.01).round(3).tolist()
    [1.0, 0.1, 0.01, 0.01, 0.01]
    """
    _fractions(length=length, floor=floor)
    _positive(length=length, floor=floor)
    return float(floor) ** _part(step / total_steps, 0, length)


def sigmoid(step: Steps, total_steps: int, *, midpoint: float, steepness: float, floor: float) -> Floats:
    """Logistic decay to a floor: high, then a fall around `midpoint`, then low.

    `floor + (1 - floor) * s(p) / s(0)` with `s(p) = 1 / (1 + exp(steepness * (p - midpoint)))` at
    progress p. The division by s(0) makes it start at the peak. First: 1; last: about
    `floor + (1 - floor) * s(1) / s(0)`. LRBench's SIG, which is Caffe's sigmoid
    (https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto).

    >>> sigmoid(np.arange(5), 5, midpoint=0.4, steepness=10.0, floor=0.0).round(3).tolist()
    [1.0, 0.897, 0.509, 0.121, 0.018]
    """
    _fractions(midpoint=midpoint, floor=floor)
    _positive(steepness=steepness)
    exponent = steepness * (step / total_steps - midpoint)
    return _to_floor(np.exp(np.logaddexp(0, -steepness * midpoint) - np.logaddexp(0, exponent)), floor)


def k_decay(step: Steps, total_steps: int, *, k: float, power: float, floor: float) -> Floats:
    """Polynomial decay of the k-th power of progress: the higher k, the later the decay.

    `floor + (1 - floor) * (1 - p**k) ** power` at progress p; k = 1 is polynomial decay. First: 1;
    last: one step above `floor`. Zhang & Li 2020 (https://arxiv.org/abs/2004.05909).

    >>> k_decay(np.arange(5), 5, k=2.0, power=1.0, floor=0.0).round(3).tolist()
    [1.0, 0.96, 0.84, 0.64, 0.36]
    """
    _fractions(floor=floor)
    _positive(k=k, power=power)
    return _to_floor((1 - (step / total_steps) ** k) ** power, floor)


def k_decay_cosine(step: Steps, total_steps: int, *, k: float, floor: float) -> Floats:
    """Half a cosine of the k-th power of progress: the higher k, the later the decay.

    `floor + (1 - floor) * (1 + cos(pi * p**k)) / 2` at progress p; k = 1 is a cosine. First: 1;
    last: one step above `floor`. Zhang & Li 2020 (https://arxiv.org/abs/2004.05909).

    >>> k_decay_cosine(np.arange(5), 5, k=2.0, floor=0.0).round(3).tolist()
    [1.0, 0.996, 0.938, 0.713, 0.287]
    """
    _fractions(floor=floor)
    _positive(k=k)
    return _to_floor(COOLDOWNS["cosine"]((step / total_steps) ** k), floor)


def hyperbolic(step: Steps, total_steps: int, *, upper_bound: float, floor: float) -> Floats:
    """HyperbolicLR: a branch of a hyperbola, nearly a line at first and steeper towards the end.

    `1 + (1 - floor) * (h(p) - h(0))` with `h(p) = sqrt((1 - p) * (2 * u - 1 - p)) / u` at progress
    p, u = upper_bound. First: 1; last: one step above `1 - (1 - floor) * h(0)`, which is `floor`
    for u = 1 and near 1 for a large u. Kim 2024 (https://arxiv.org/abs/2407.15200). In the paper, u
    is a fixed number of epochs; here it is a multiple of the run.

    >>> hyperbolic(np.arange(5), 5, upper_bound=2.0, floor=0.0).round(3).tolist()
    [1.0, 0.882, 0.758, 0.624, 0.466]
    """
    _within(1, math.inf, upper_bound=upper_bound)
    _fractions(floor=floor)
    progress = np.append(0, step / total_steps)
    curve = np.sqrt((1 - progress) / upper_bound * (2 - (1 + progress) / upper_bound))
    return 1 + (1 - floor) * (curve[1:] - curve[:1])


def slanted_triangular(step: Steps, total_steps: int, *, cut_frac: float, ratio: float) -> Floats:
    """STLR: a short line up to the peak, then a long line down.

    `(1 + q * (ratio - 1)) / ratio` with `q = p / cut_frac`, then `q = (1 - p) / (1 - cut_frac)` at
    progress p. First: `1 / ratio`; last: one step above `1 / ratio`. Howard & Ruder 2018
    (https://arxiv.org/abs/1801.06146).

    >>> slanted_triangular(np.arange(5), 5, cut_frac=0.2, ratio=32.0).round(3).tolist()
    [0.031, 1.0, 0.758, 0.516, 0.273]
    """
    _fractions(cut_frac=cut_frac)
    _within(1, math.inf, ratio=ratio)
    progress = step / total_steps
    return _to_floor(_part(progress, 0, cut_frac) * (1 - _part(progress, cut_frac, 1)), 1 / ratio)


def inverse_time(step: Steps, total_steps: int, *, gamma: float, power: float) -> Floats:
    """Decay with a negative power of time.

    `(1 + gamma * p) ** -power` at progress p. First: 1; last: about `(1 + gamma) ** -power`.
    LRBench's INV, which is Caffe's inv
    (https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto). There gamma is per
    step, here it is per run.

    >>> inverse_time(np.arange(5), 5, gamma=15.0, power=0.5).round(3).tolist()
    [1.0, 0.5, 0.378, 0.316, 0.277]
    """
    _within(0, math.inf, gamma=gamma, power=power)
    return (1 + gamma * (step / total_steps)) ** -float(power)


def wave(
    step: Steps,
    total_steps: int,
    *,
    form: str,
    cycles: float,
    phase: float,
    cycle_decay: float,
    final: float,
    floor: float,
) -> Floats:
    """Equal cycles of a form under a falling envelope: the cyclic policies of LRBench.

    `floor + (1 - floor) * cycle_decay**i * final**p * f(q)` at progress p, with i the integer part
    and q the fractional part of `cycles * p + phase`. The form f rises from 0 to 1 and falls back
    (triangle, sine, cosine), or falls from 1 and jumps (sawtooth, sine_sawtooth, cosine_sawtooth).
    With phase 0.5, the first three start at the peak. First: `floor`, or 1 for a sawtooth or with
    phase 0.5.

    Wu et al. 2019 (https://arxiv.org/abs/1908.06477), https://github.com/git-disl/LRBench. There
    the exponential is per step, and a sawtooth has its lowest value at the step of the jump. Here
    it has its highest value at that step.

    >>> args = dict(form="triangle", cycles=2, phase=0.0, cycle_decay=0.5, final=1.0, floor=0.0)
    >>> factors = wave(np.arange(8), 8, **args)
    >>> factors.round(3).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25]
    """
    _one_of(WAVES, form=form)
    _within(0.5, 1000, cycles=cycles)
    _fractions(phase=phase, cycle_decay=cycle_decay, final=final, floor=floor)
    # Multiply before dividing. Otherwise rounding can start a cycle one step late.
    part, cycle = np.modf(cycles * step / total_steps + phase)
    return _to_floor(cycle_decay**cycle * final ** (step / total_steps) * WAVES[form](part), floor)


def _part(progress: Floats, begin: float, end: float) -> Floats:
    """Return the finished part of the interval from `begin` to `end`: 0 before it, 1 after it."""
    if begin == end:
        return np.where(progress < end, 0.0, 1.0)
    return (np.clip(progress, begin, end) - begin) / (end - begin)


def _warm_up(progress: Floats, warmup: float, start: float) -> Floats:
    return _to_floor(_part(progress, 0, warmup), start)


def _to_floor(factor: Floats, floor: float) -> Floats:
    """Map a factor from the range 0 to 1 to the range `floor` to 1."""
    return floor + (1 - floor) * factor


def _fractions(**args: float) -> None:
    _within(0, 1, **args)


def _within(low: float, high: float, **args: float) -> None:
    """Raise ValueError if an argument is not a finite number from `low` to `high`."""
    for name, value in args.items():
        if not _is_finite(value) or not low <= value <= high:
            limits = f"a finite number of at least {low}" if high == math.inf else f"a number from {low} to {high}"
            raise ValueError(f"scheduler.args.{name}={value}: must be {limits}")


def _positive(**args: float) -> None:
    for name, value in args.items():
        if not _is_finite(value) or value <= 0:
            raise ValueError(f"scheduler.args.{name}={value}: must be a finite number above 0")


def _whole(low: int, high: int, **args: float) -> None:
    for name, value in args.items():
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"scheduler.args.{name}={value}: must be a whole number from {low} to {high}")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(choices: Mapping[str, object], **args: str) -> None:
    for name, value in args.items():
        if value not in choices:
            raise ValueError(f"scheduler.args.{name}={value}: must be one of {', '.join(choices)}")


def _fit_in_the_run(**args: float) -> None:
    if sum(args.values()) > 1:
        written = " and ".join(f"scheduler.args.{name}={value}" for name, value in args.items())
        raise ValueError(f"{written}: must sum to at most 1; got {sum(args.values()):g}")
