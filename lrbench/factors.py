"""Schedules that torch lacks, as functions of how far the run is: factors of the peak rate.

Every function takes `step`, the scheduler's steps 0 to `total_steps - 1` in an array, and returns their factors: float64, of the
same shape, 0 to 1. All other arguments are fractions or counts, none is in steps, so that a schedule means the same at every
length. The run ends one step after the last factor: what is reached "at the end" is not quite reached at the last step.
An argument that cannot be raises ValueError, which names its config key.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.int_]
Floats = NDArray[np.float64]

COOLDOWNS: dict[str, Callable[[Floats], Floats]] = {  # of the part of the cooldown that is over, 0 to 1
    "linear": lambda part: 1 - part,
    "cosine": lambda part: (1 + np.cos(math.pi * part)) / 2,
    "one_minus_sqrt": lambda part: 1 - np.sqrt(part),
}
WAVES: dict[str, Callable[[Floats], Floats]] = {  # of the part of a cycle, 0 to 1; the first three rise and fall, the others fall and jump
    "triangle": lambda part: 1 - np.abs(1 - 2 * part),
    "sine": lambda part: np.sin(math.pi * part),
    "cosine": lambda part: (1 - np.cos(2 * math.pi * part)) / 2,
    "sawtooth": lambda part: 1 - part,
    "sine_sawtooth": lambda part: np.sin(math.pi / 2 * (1 - part)),
    "cosine_sawtooth": lambda part: (1 + np.cos(math.pi * part)) / 2,
}


def warmup_constant(step: Steps, total_steps: int, *, warmup: float, start: float) -> Floats:
    """Linear warm-up, then the peak.

    `start + (1 - start) * min(p / warmup, 1)` at progress p. First: `start`, or 1 without a warm-up; last: 1.
    Goyal et al. 2017 (https://arxiv.org/abs/1706.02677) for the warm-up.

    >>> warmup_constant(np.arange(5), 5, warmup=0.4, start=0.0).round(3).tolist()
    [0.0, 0.5, 1.0, 1.0, 1.0]
    """
    _fractions(warmup=warmup, start=start)
    return _warm_up(step / total_steps, warmup, start)


def schedule_free(
    step: Steps, total_steps: int, *, warmup: float, start: float, beta: float, average_power: float, rate_power: float
) -> Floats:
    """The rates of Schedule-Free, whose optimizer averages the weights in place of a decay: warmup_constant.

    `start + (1 - start) * min(p / warmup, 1)` at progress p. First: `start`, or 1 without a warm-up; last: 1. The other arguments
    are the optimizer's: `beta` where between its newest (0) and its average weights (1) the gradient is taken, and the powers of
    the step and of the rate that weigh the average. Defazio et al. 2024 (https://arxiv.org/abs/2405.15682).

    >>> schedule_free(np.arange(5), 5, warmup=0.4, start=0.0, beta=0.9, average_power=0.0, rate_power=2.0).round(3).tolist()
    [0.0, 0.5, 1.0, 1.0, 1.0]
    """
    _within(0.001, 0.999, beta=beta)
    _within(0, 100, average_power=average_power, rate_power=rate_power)
    return warmup_constant(step, total_steps, warmup=warmup, start=start)


def warmup_cosine(step: Steps, total_steps: int, *, warmup: float, start: float, floor: float) -> Floats:
    """Linear warm-up, then half a cosine to a floor.

    `start + (1 - start) * p / warmup`, then `floor + (1 - floor) * (1 + cos(pi * (p - warmup) / (1 - warmup))) / 2` at progress p.
    First: `start`, or 1 without a warm-up; last: one step above `floor`. Goyal et al. 2017 (https://arxiv.org/abs/1706.02677)
    for the warm-up, Loshchilov & Hutter 2016 (https://arxiv.org/abs/1608.03983) for the cosine.

    >>> warmup_cosine(np.arange(5), 5, warmup=0.2, start=0.1, floor=0.0).round(3).tolist()
    [0.1, 1.0, 0.854, 0.5, 0.146]
    """
    _fractions(warmup=warmup, start=start, floor=floor)
    progress = step / total_steps
    return _warm_up(progress, warmup, start) * _to_floor(COOLDOWNS["cosine"](_part(progress, warmup, 1)), floor)


def warmup_linear(step: Steps, total_steps: int, *, warmup: float, start: float, floor: float) -> Floats:
    """Linear warm-up, then a line to a floor.

    `start + (1 - start) * p / warmup`, then `1 - (1 - floor) * (p - warmup) / (1 - warmup)` at progress p.
    First: `start`, or 1 without a warm-up; last: one step above `floor`. Devlin et al. 2018 (https://arxiv.org/abs/1810.04805);
    to zero: Bergsma et al. 2025 (https://arxiv.org/abs/2502.15938).

    >>> warmup_linear(np.arange(5), 5, warmup=0.2, start=0.1, floor=0.0).round(3).tolist()
    [0.1, 1.0, 0.75, 0.5, 0.25]
    """
    _fractions(warmup=warmup, start=start, floor=floor)
    progress = step / total_steps
    return _warm_up(progress, warmup, start) * _to_floor(1 - _part(progress, warmup, 1), floor)


def warmup_hold_cosine(step: Steps, total_steps: int, *, warmup: float, hold: float, start: float, floor: float) -> Floats:
    """Linear warm-up, the peak for `hold` of the run, then half a cosine to a floor.

    As warmup_cosine, with the cosine over `(p - warmup - hold) / (1 - warmup - hold)` at progress p.
    First: `start`, or 1 without a warm-up; last: one step above `floor`. NeMo's CosineAnnealing with constant_steps
    (https://github.com/NVIDIA-NeMo/NeMo); without a warm-up, fastai's fit_flat_cos (https://docs.fast.ai/callback.schedule.html).

    >>> warmup_hold_cosine(np.arange(5), 5, warmup=0.2, hold=0.4, start=0.1, floor=0.0).round(3).tolist()
    [0.1, 1.0, 1.0, 1.0, 0.5]
    """
    _fractions(warmup=warmup, hold=hold, start=start, floor=floor)
    _fit_in_the_run(warmup=warmup, hold=hold)
    progress = step / total_steps
    return _warm_up(progress, warmup, start) * _to_floor(COOLDOWNS["cosine"](_part(progress, warmup + hold, 1)), floor)


def warmup_stable_decay(step: Steps, total_steps: int, *, warmup: float, cooldown: float, shape: str, start: float, floor: float) -> Floats:
    """WSD: linear warm-up, the peak, then a cooldown to a floor in the last `cooldown` of the run.

    `floor + (1 - floor) * f(d)` with d, 0 to 1, the part of the cooldown that is over, and f(d) `1 - d` (linear),
    `(1 + cos(pi * d)) / 2` (cosine) or `1 - sqrt(d)` (one_minus_sqrt). First: `start`, or 1 without a warm-up; last: one step above
    `floor`. Haegele et al. 2024 (https://arxiv.org/abs/2405.18392), who found one_minus_sqrt the best.

    >>> warmup_stable_decay(np.arange(5), 5, warmup=0.2, cooldown=0.4, shape="one_minus_sqrt", start=0.1, floor=0.0).round(3).tolist()
    [0.1, 1.0, 1.0, 1.0, 0.293]
    """
    _fractions(warmup=warmup, cooldown=cooldown, start=start, floor=floor)
    _one_of(COOLDOWNS, shape=shape)
    _fit_in_the_run(warmup=warmup, cooldown=cooldown)
    progress = step / total_steps
    return _warm_up(progress, warmup, start) * _to_floor(COOLDOWNS[shape](_part(progress, 1 - cooldown, 1)), floor)


def rex(step: Steps, total_steps: int, *, beta: float) -> Floats:
    """REX: slow decay that quickens towards the end.

    `(1 - p) / (1 - beta * p)` at progress p: the paper's `(1 - p) / (1/2 + (1 - p) / 2)` at beta 1/2, a line at 0, the peak
    throughout at 1. First: 1; last: one step above 0. Chen, Wolfe & Kyrillidis 2021 (https://arxiv.org/abs/2107.04197).

    >>> rex(np.arange(5), 5, beta=0.5).round(3).tolist()
    [1.0, 0.889, 0.75, 0.571, 0.333]
    """
    _fractions(beta=beta)
    progress = step / total_steps
    return (1 - progress) / (1 - beta * progress)


def inverse_sqrt(step: Steps, total_steps: int, *, warmup: float, start: float) -> Floats:
    """Linear warm-up, then decay with the inverse square root of the step.

    `start + (1 - start) * p / warmup`, then `sqrt(warmup / p)` at progress p. First: `start`; last: about `sqrt(warmup)`.
    Vaswani et al. 2017, section 5.3 (https://arxiv.org/abs/1706.03762).

    >>> inverse_sqrt(np.arange(5), 5, warmup=0.2, start=0.1).round(3).tolist()
    [0.1, 1.0, 0.707, 0.577, 0.5]
    """
    _fractions(warmup=warmup, start=start)
    _positive(warmup=warmup)
    progress = step / total_steps
    return _warm_up(progress, warmup, start) * np.sqrt(warmup / np.maximum(progress, warmup))


def cosine_decaying_restarts(step: Steps, total_steps: int, *, cycles: int, stretch: float, decay: float, floor: float) -> Floats:
    """Half cosines to a floor, each from a lower peak and longer than the one before.

    `floor + (1 - floor) * decay**i * (1 + cos(pi * q)) / 2` with i the cycle, from 0, and q the part of it that is over; a cycle
    lasts `stretch` times as long as the one before. First: 1; last: one step above `floor`. SGDR (Loshchilov & Hutter 2016,
    https://arxiv.org/abs/1608.03983) with Keras's m_mul (https://keras.io/api/optimizers/learning_rate_schedules/cosine_decay_restarts/).

    >>> cosine_decaying_restarts(np.arange(6), 6, cycles=2, stretch=2.0, decay=0.5, floor=0.0).round(3).tolist()
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
    """Exponential decay to a floor in `length` of the run, and the floor from there.

    `floor ** min(p / length, 1)` at progress p. First: 1; last: `floor`, or one step above it where the length is 1.
    optax's exponential_decay with end_value (https://optax.readthedocs.io/en/latest/api/optimizer_schedules.html).

    >>> exponential_to_floor(np.arange(5), 5, length=0.4, floor=0.01).round(3).tolist()
    [1.0, 0.1, 0.01, 0.01, 0.01]
    """
    _fractions(length=length, floor=floor)
    _positive(length=length, floor=floor)
    return float(floor) ** _part(step / total_steps, 0, length)


def sigmoid(step: Steps, total_steps: int, *, midpoint: float, steepness: float, floor: float) -> Floats:
    """Logistic decay to a floor: high, then a fall around `midpoint`, then low.

    `floor + (1 - floor) * s(p) / s(0)` with `s(p) = 1 / (1 + exp(steepness * (p - midpoint)))` at progress p; the division by s(0)
    lets it begin at the peak. First: 1; last: about `floor + (1 - floor) * s(1) / s(0)`. LRBench's SIG, which is Caffe's sigmoid
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

    `floor + (1 - floor) * (1 - p**k) ** power` at progress p; k = 1 is polynomial decay. First: 1; last: one step above `floor`.
    Zhang & Li 2020 (https://arxiv.org/abs/2004.05909).

    >>> k_decay(np.arange(5), 5, k=2.0, power=1.0, floor=0.0).round(3).tolist()
    [1.0, 0.96, 0.84, 0.64, 0.36]
    """
    _fractions(floor=floor)
    _positive(k=k, power=power)
    return _to_floor((1 - (step / total_steps) ** k) ** power, floor)


def k_decay_cosine(step: Steps, total_steps: int, *, k: float, floor: float) -> Floats:
    """Half a cosine of the k-th power of progress: the higher k, the later the decay.

    `floor + (1 - floor) * (1 + cos(pi * p**k)) / 2` at progress p; k = 1 is a cosine. First: 1; last: one step above `floor`.
    Zhang & Li 2020 (https://arxiv.org/abs/2004.05909).

    >>> k_decay_cosine(np.arange(5), 5, k=2.0, floor=0.0).round(3).tolist()
    [1.0, 0.996, 0.938, 0.713, 0.287]
    """
    _fractions(floor=floor)
    _positive(k=k)
    return _to_floor(COOLDOWNS["cosine"]((step / total_steps) ** k), floor)


def hyperbolic(step: Steps, total_steps: int, *, upper_bound: float, floor: float) -> Floats:
    """HyperbolicLR: a branch of a hyperbola, nearly a line at first and steeper towards the end.

    `1 + (1 - floor) * (h(p) - h(0))` with `h(p) = sqrt((1 - p) * (2 * u - 1 - p)) / u` at progress p, u = upper_bound. First: 1;
    last: one step above `1 - (1 - floor) * h(0)`, which is `floor` where u is 1, and 1 where u is large. Kim 2024
    (https://arxiv.org/abs/2407.15200); there u is a number of epochs that stays while runs lengthen, here it is in lengths of the run.

    >>> hyperbolic(np.arange(5), 5, upper_bound=2.0, floor=0.0).round(3).tolist()
    [1.0, 0.882, 0.758, 0.624, 0.466]
    """
    _within(1, math.inf, upper_bound=upper_bound)
    _fractions(floor=floor)
    progress = np.append(0, step / total_steps)
    curve = np.sqrt((1 - progress) / upper_bound * (2 - (1 + progress) / upper_bound))
    return 1 + (1 - floor) * (curve[1:] - curve[:1])


def slanted_triangular(step: Steps, total_steps: int, *, cut_frac: float, ratio: float) -> Floats:
    """STLR: a short line up to the peak, a long line down.

    `(1 + q * (ratio - 1)) / ratio` with `q = p / cut_frac`, then `q = (1 - p) / (1 - cut_frac)` at progress p. First: `1 / ratio`;
    last: one step above `1 / ratio`. Howard & Ruder 2018 (https://arxiv.org/abs/1801.06146).

    >>> slanted_triangular(np.arange(5), 5, cut_frac=0.2, ratio=32.0).round(3).tolist()
    [0.031, 1.0, 0.758, 0.516, 0.273]
    """
    _fractions(cut_frac=cut_frac)
    _within(1, math.inf, ratio=ratio)
    progress = step / total_steps
    return _to_floor(_part(progress, 0, cut_frac) * (1 - _part(progress, cut_frac, 1)), 1 / ratio)


def inverse_time(step: Steps, total_steps: int, *, gamma: float, power: float) -> Floats:
    """Decay with a power of time.

    `(1 + gamma * p) ** -power` at progress p. First: 1; last: about `(1 + gamma) ** -power`. LRBench's INV, which is Caffe's inv
    (https://github.com/BVLC/caffe/blob/master/src/caffe/proto/caffe.proto), with gamma per run in place of per step.

    >>> inverse_time(np.arange(5), 5, gamma=15.0, power=0.5).round(3).tolist()
    [1.0, 0.5, 0.378, 0.316, 0.277]
    """
    _within(0, math.inf, gamma=gamma, power=power)
    return (1 + gamma * (step / total_steps)) ** -float(power)


def wave(
    step: Steps, total_steps: int, *, form: str, cycles: float, phase: float, cycle_decay: float, final: float, floor: float
) -> Floats:
    """Equal cycles of a form under a falling envelope, above a floor: the cyclic policies of LRBench.

    `floor + (1 - floor) * cycle_decay**i * final**p * f(q)` at progress p, with i the whole and q the broken part of
    `cycles * p + phase`. The forms rise from 0 to 1 and fall back (triangle, sine, cosine) or fall from 1 and jump (sawtooth,
    sine_sawtooth, cosine_sawtooth); a phase of 0.5 lets the former begin at the peak. First: `floor`, or 1 for a sawtooth or with
    phase 0.5. Wu et al. 2019 (https://arxiv.org/abs/1908.06477), https://github.com/git-disl/LRBench; there the exponential is per
    step, and a sawtooth is at its lowest in the step of the jump, where it is at its highest here.

    >>> wave(np.arange(8), 8, form="triangle", cycles=2, phase=0.0, cycle_decay=0.5, final=1.0, floor=0.0).round(3).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25]
    """
    _one_of(WAVES, form=form)
    _within(0.5, 1000, cycles=cycles)
    _fractions(phase=phase, cycle_decay=cycle_decay, final=final, floor=floor)
    # multiplied before it is divided, so that a cycle begins at its own step and not, by rounding, at the one after
    part, cycle = np.modf(cycles * step / total_steps + phase)
    return _to_floor(cycle_decay**cycle * final ** (step / total_steps) * WAVES[form](part), floor)


def _part(progress: Floats, begin: float, end: float) -> Floats:
    """Return how much of the time from `begin` to `end` is over: 0 before it, 1 after it."""
    if begin == end:
        return np.where(progress < end, 0.0, 1.0)
    return (np.clip(progress, begin, end) - begin) / (end - begin)


def _warm_up(progress: Floats, warmup: float, start: float) -> Floats:
    return _to_floor(_part(progress, 0, warmup), start)


def _to_floor(factor: Floats, floor: float) -> Floats:
    """Squeeze a factor of 0 to 1 into `floor` to 1."""
    return floor + (1 - floor) * factor


def _fractions(**args: float) -> None:
    _within(0, 1, **args)


def _within(low: float, high: float, **args: float) -> None:
    """Raise ValueError, with its config key, for an argument that is no finite number from `low` to `high`."""
    for name, value in args.items():
        if not _is_finite(value) or not low <= value <= high:
            upper = "" if high == math.inf else f" to {high}"
            raise ValueError(f"scheduler.args.{name}={value}: a number from {low}{upper} is expected")


def _positive(**args: float) -> None:
    for name, value in args.items():
        if not _is_finite(value) or value <= 0:
            raise ValueError(f"scheduler.args.{name}={value}: a number above 0 is expected")


def _whole(low: int, high: int, **args: float) -> None:
    for name, value in args.items():
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"scheduler.args.{name}={value}: a whole number from {low} to {high} is expected")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _one_of(choices: Mapping[str, object], **args: str) -> None:
    for name, value in args.items():
        if value not in choices:
            raise ValueError(f"scheduler.args.{name}={value}: one of {', '.join(choices)} is expected")


def _fit_in_the_run(**args: float) -> None:
    if sum(args.values()) > 1:
        written = " and ".join(f"scheduler.args.{name}={value}" for name, value in args.items())
        raise ValueError(f"{written} make {sum(args.values()):g} of the run: at most 1 together is allowed")
