"""Exact values that a reader can check by hand, and what holds for all arguments."""

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from lrbench import factors
from lrbench.schedules.table import schedule_table
from lrbench.spec import ConfigError, TrialSpec
from tests.conftest import ROOT

Spec = Callable[..., TrialSpec]
FUNCTIONS = {
    name: f
    for name, f in vars(factors).items()
    if inspect.isfunction(f) and list(inspect.signature(f).parameters)[:2] == ["step", "total_steps"]
}
FILES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "conf" / "scheduler").glob("*.yaml"))}
WAVES = {name: node for name, node in FILES.items() if node["_target_"] == "lrbench.factors.wave"}
ROOT_HALF = math.sqrt(0.5)
X = math.nan  # a value with no short number to check


def curve(name: str, total_steps: int, **args: Any) -> np.ndarray:
    return np.asarray(FUNCTIONS[name](np.arange(total_steps), total_steps, **args))


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("warmup_constant", {"warmup": 0.5, "start": 0.2}, [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1]),
        (
            "schedule_free",
            {"warmup": 0.25, "start": 0.0, "beta": 0.9, "average_power": 0.0, "rate_power": 2.0},
            [0, 0.5, *[1] * 6],
        ),
        ("warmup_cosine", {"warmup": 0.5, "start": 0.0, "floor": 0.0}, [0, 0.25, 0.5, 0.75, 1, X, 0.5, X]),
        ("warmup_cosine", {"warmup": 0.0, "start": 0.5, "floor": 0.5}, [1, X, X, X, 0.75, X, X, X]),
        ("warmup_linear", {"warmup": 0.5, "start": 0.0, "floor": 0.0}, [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]),
        ("warmup_linear", {"warmup": 0.5, "start": 0.2, "floor": 0.6}, [0.2, 0.4, 0.6, 0.8, 1, 0.9, 0.8, 0.7]),
        (
            "warmup_linear",
            {"warmup": 1.0, "start": 0.0, "floor": 0.0},
            [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875],
        ),
        ("warmup_hold_cosine", {"warmup": 0.25, "hold": 0.5, "start": 0.0, "floor": 0.2}, [0, 0.5, 1, 1, 1, 1, 1, 0.6]),
        ("warmup_hold_cosine", {"warmup": 0.25, "hold": 0.75, "start": 0.0, "floor": 0.2}, [0, 0.5, 1, 1, 1, 1, 1, 1]),
        (
            "warmup_stable_decay",
            {"warmup": 0.25, "cooldown": 0.5, "shape": "linear", "start": 0.5, "floor": 0.0},
            [0.5, 0.75, 1, 1, 1, 0.75, 0.5, 0.25],
        ),
        (
            "warmup_stable_decay",
            {"warmup": 0.0, "cooldown": 0.5, "shape": "one_minus_sqrt", "start": 0.0, "floor": 0.0},
            [1, 1, 1, 1, 1, 0.5, 1 - ROOT_HALF, 1 - math.sqrt(0.75)],
        ),
        (
            "warmup_stable_decay",
            {"warmup": 0.0, "cooldown": 0.5, "shape": "cosine", "start": 0.0, "floor": 0.5},
            [1, 1, 1, 1, 1, X, 0.75, X],
        ),
        ("rex", {"beta": 0.5}, [1, 14 / 15, 6 / 7, 10 / 13, 2 / 3, 6 / 11, 2 / 5, 2 / 9]),
        ("rex", {"beta": 0.0}, [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("inverse_sqrt", {"warmup": 0.125, "start": 0.0}, [0, 1, ROOT_HALF, 3**-0.5, 1 / 2, 5**-0.5, 6**-0.5, 7**-0.5]),
        (
            "cosine_decaying_restarts",
            {"cycles": 2, "stretch": 1.0, "decay": 0.5, "floor": 0.0},
            [1, X, 0.5, X, 0.5, X, 0.25, X],
        ),
        (
            "cosine_decaying_restarts",  # cycles of 2 and 6 steps
            {"cycles": 2, "stretch": 3.0, "decay": 0.4, "floor": 0.2},
            [1, 0.6, 0.52, X, 0.44, 0.36, 0.28, X],
        ),
        (
            "exponential_to_floor",
            {"length": 0.5, "floor": 0.0001},
            [1, 0.1, 0.01, 0.001, 0.0001, 0.0001, 0.0001, 0.0001],
        ),
        (
            "sigmoid",
            {"midpoint": 0.5, "steepness": 8 * math.log(2), "floor": 0.0},
            [17 / 16 / (1 + 2.0 ** (i - 4)) for i in range(8)],
        ),
        ("k_decay", {"k": 2.0, "power": 1.0, "floor": 0.0}, [1 - i * i / 64 for i in range(8)]),
        ("k_decay", {"k": 1.0, "power": 2.0, "floor": 0.5}, [0.5 + (8 - i) ** 2 / 128 for i in range(8)]),
        ("k_decay_cosine", {"k": 2.0, "floor": 0.0}, [1, X, X, X, (1 + ROOT_HALF) / 2, X, X, X]),
        ("hyperbolic", {"upper_bound": 1.0, "floor": 0.0}, [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("hyperbolic", {"upper_bound": 2.0, "floor": 0.2}, [1, X, X, X, 1 - 0.4 * (3**0.5 - 1.25**0.5), X, X, X]),
        ("slanted_triangular", {"cut_frac": 0.25, "ratio": 4.0}, [0.25, 0.625, 1, 0.875, 0.75, 0.625, 0.5, 0.375]),
        ("inverse_time", {"gamma": 8.0, "power": 1.0}, [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7, 1 / 8]),
        ("inverse_time", {"gamma": 24.0, "power": 0.5}, [1, 1 / 2, X, X, X, 1 / 4, X, X]),
    ],
)
def test_values(name: str, args: dict[str, Any], expected: list[float]) -> None:
    """Eight steps."""
    values = curve(name, 8, **args)
    np.testing.assert_allclose(np.where(np.isnan(expected), X, values), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("form", "phase", "expected"),
    [
        ("triangle", 0.0, [0, 0.5, 1, 0.5, 0, 0.5, 1, 0.5]),
        ("triangle", 0.5, [1, 0.5, 0, 0.5, 1, 0.5, 0, 0.5]),
        ("sine", 0.0, [0, ROOT_HALF, 1, ROOT_HALF, 0, ROOT_HALF, 1, ROOT_HALF]),
        ("sine", 0.5, [1, ROOT_HALF, 0, ROOT_HALF, 1, ROOT_HALF, 0, ROOT_HALF]),
        ("cosine", 0.0, [0, 0.5, 1, 0.5, 0, 0.5, 1, 0.5]),
        ("cosine", 0.5, [1, 0.5, 0, 0.5, 1, 0.5, 0, 0.5]),
        ("sawtooth", 0.0, [1, 0.75, 0.5, 0.25, 1, 0.75, 0.5, 0.25]),
        ("sine_sawtooth", 0.0, [1, math.cos(math.pi / 8), ROOT_HALF, math.sin(math.pi / 8)] * 2),
        ("cosine_sawtooth", 0.0, [1, (1 + ROOT_HALF) / 2, 0.5, (1 - ROOT_HALF) / 2] * 2),
    ],
)
def test_waves(form: str, phase: float, expected: list[float]) -> None:
    """Two cycles in eight steps: plain, halved per cycle, and under an exponential envelope."""
    args = {"form": form, "phase": phase, "cycles": 2}
    halved = np.array(expected) * 0.5 ** ((np.arange(8) + 4 * phase) // 4)
    falling = np.array(expected) * 0.0001 ** (np.arange(8) / 8)
    np.testing.assert_allclose(
        curve("wave", 8, **args, cycle_decay=1.0, final=1.0, floor=0.0), expected, rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        curve("wave", 8, **args, cycle_decay=0.5, final=1.0, floor=0.0), halved, rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        curve("wave", 8, **args, cycle_decay=1.0, final=0.0001, floor=0.0), falling, rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        curve("wave", 8, **args, cycle_decay=0.5, final=1.0, floor=0.2), 0.2 + 0.8 * halved, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", WAVES)
def test_wave_files_are_what_their_names_say(name: str) -> None:
    args = WAVES[name]["args"]
    assert (args["cycle_decay"] == 0.5) == name.endswith("_halving")
    assert (args["final"] < 1) == name.endswith("_exponential")
    factor = curve("wave", 120, **args)
    assert factor[0] == (1.0 if "from_peak" in name or "sawtooth" in name else 0.0)
    assert factor[-1] < 0.1


def test_cycles_begin_at_their_own_step() -> None:
    """For every length that the cycles divide: rounding puts no restart a step late."""
    for cycles in range(1, 12):
        for length in range(1, 40):
            restarts: dict[str, dict[str, Any]] = {
                "wave": {
                    "form": "sawtooth",
                    "cycles": cycles,
                    "phase": 0.0,
                    "cycle_decay": 1.0,
                    "final": 1.0,
                    "floor": 0.0,
                },
                "cosine_decaying_restarts": {"cycles": cycles, "stretch": 1.0, "decay": 1.0, "floor": 0.0},
            }
            for name, args in restarts.items():
                assert (curve(name, cycles * length, **args)[::length] == 1).all()


FRACTION = st.floats(0, 1)
ABOVE_0 = st.floats(0, 1, exclude_min=True)
POSITIVE = st.floats(0, exclude_min=True, allow_infinity=False)
FROM_1 = st.floats(1, allow_infinity=False)
ARGUMENTS: dict[str, dict[str, SearchStrategy[Any]]] = {
    "warmup_constant": {"warmup": FRACTION, "start": FRACTION},
    "schedule_free": {
        "warmup": FRACTION,
        "start": FRACTION,
        "beta": st.floats(0.001, 0.999),
        "average_power": st.floats(0, 100),
        "rate_power": st.floats(0, 100),
    },
    "warmup_cosine": {"warmup": FRACTION, "start": FRACTION, "floor": FRACTION},
    "warmup_linear": {"warmup": FRACTION, "start": FRACTION, "floor": FRACTION},
    "warmup_hold_cosine": {
        "warmup": st.floats(0, 0.4),
        "hold": st.floats(0, 0.6),
        "start": FRACTION,
        "floor": FRACTION,
    },
    "warmup_stable_decay": {
        "warmup": st.floats(0, 0.4),
        "cooldown": st.floats(0, 0.6),
        "shape": st.sampled_from(list(factors.COOLDOWNS)),
        "start": FRACTION,
        "floor": FRACTION,
    },
    "rex": {"beta": FRACTION},
    "inverse_sqrt": {"warmup": ABOVE_0, "start": FRACTION},
    "cosine_decaying_restarts": {
        "cycles": st.integers(1, 100),
        "stretch": st.floats(1, 10),
        "decay": FRACTION,
        "floor": FRACTION,
    },
    "exponential_to_floor": {"length": ABOVE_0, "floor": ABOVE_0},
    "sigmoid": {"midpoint": FRACTION, "steepness": POSITIVE, "floor": FRACTION},
    "k_decay": {"k": POSITIVE, "power": POSITIVE, "floor": FRACTION},
    "k_decay_cosine": {"k": POSITIVE, "floor": FRACTION},
    "hyperbolic": {"upper_bound": FROM_1, "floor": FRACTION},
    "slanted_triangular": {"cut_frac": FRACTION, "ratio": FROM_1},
    "inverse_time": {"gamma": st.floats(0, allow_infinity=False), "power": st.floats(0, allow_infinity=False)},
    "wave": {
        "form": st.sampled_from(list(factors.WAVES)),
        "cycles": st.floats(0.5, 1000),
        "phase": FRACTION,
        "cycle_decay": FRACTION,
        "final": FRACTION,
        "floor": FRACTION,
    },
}


def test_every_function_has_its_config_file_and_arguments_here() -> None:
    assert set(FUNCTIONS) == set(ARGUMENTS)
    assert {
        node["_target_"].removeprefix("lrbench.factors.") for node in FILES.values() if "factors" in node["_target_"]
    } == set(FUNCTIONS)
    for node in FILES.values():
        if "factors" in node["_target_"]:
            assert set(node["args"]) == set(ARGUMENTS[node["_target_"].removeprefix("lrbench.factors.")]), node["name"]


@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data(), total_steps=st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_any_arguments_give_a_factor_for_each_step(name: str, data: DataObject, total_steps: int) -> None:
    """Each is finite and from 0 to the peak, and after the warm-up at least the floor."""
    args = data.draw(st.fixed_dictionaries(ARGUMENTS[name]))
    factor = curve(name, total_steps, **args)
    assert factor.shape == (total_steps,) and factor.dtype == np.float64
    assert np.isfinite(factor).all() and factor.min() >= -1e-12 and factor.max() <= 1 + 1e-9
    assert factor.min() >= min(args.get("floor", 0), args.get("start", 1)) - 1e-9


@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data(), total_steps=st.integers(1, 50))
@settings(max_examples=50, deadline=None)
def test_a_schedule_means_the_same_at_every_length(name: str, data: DataObject, total_steps: int) -> None:
    halves = (
        {"cycles": st.integers(1, 20).map(lambda n: n / 2), "phase": st.sampled_from([0.0, 0.5])}
        if name == "wave"
        else {}
    )
    args = data.draw(st.fixed_dictionaries(ARGUMENTS[name] | halves))
    np.testing.assert_allclose(
        curve(name, total_steps, **args), curve(name, 5 * total_steps, **args)[::5], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("warmup_cosine", {"warmup": 1.5}, "scheduler.args.warmup=1.5: must be a number from 0 to 1"),
        ("warmup_cosine", {"start": -0.1}, "scheduler.args.start=-0.1: must be a number from 0 to 1"),
        ("warmup_cosine", {"floor": math.nan}, "scheduler.args.floor=nan: must be a number from 0 to 1"),
        ("warmup_linear", {"warmup": None}, "scheduler.args.warmup=None: must be a number from 0 to 1"),
        (
            "warmup_hold_cosine",
            {"hold": 0.95},
            "scheduler.args.warmup=0.1 and scheduler.args.hold=0.95: must sum to at most 1; got 1.05",
        ),
        (
            "warmup_stable_decay",
            {"cooldown": 1.0},
            "scheduler.args.warmup=0.1 and scheduler.args.cooldown=1.0: must sum to at most 1; got 1.1",
        ),
        (
            "warmup_stable_decay",
            {"shape": "square"},
            "scheduler.args.shape=square: must be one of linear, cosine, one_minus_sqrt",
        ),
        ("schedule_free", {"beta": 1}, "scheduler.args.beta=1: must be a number from 0.001 to 0.999"),
        ("schedule_free", {"rate_power": -1}, "scheduler.args.rate_power=-1: must be a number from 0 to 100"),
        ("rex", {"beta": 2}, "scheduler.args.beta=2: must be a number from 0 to 1"),
        ("inverse_sqrt", {"warmup": 0}, "scheduler.args.warmup=0: must be a finite number above 0"),
        (
            "cosine_decaying_restarts",
            {"cycles": 0},
            "scheduler.args.cycles=0: must be a whole number from 1 to 100",
        ),
        (
            "cosine_decaying_restarts",
            {"cycles": None},
            "scheduler.args.cycles=None: must be a whole number from 1 to 100",
        ),
        ("cosine_decaying_restarts", {"stretch": 0.5}, "scheduler.args.stretch=0.5: must be a number from 1 to 10"),
        ("cosine_decaying_restarts", {"decay": 1.1}, "scheduler.args.decay=1.1: must be a number from 0 to 1"),
        ("exponential_to_floor", {"floor": 0.0}, "scheduler.args.floor=0.0: must be a finite number above 0"),
        ("exponential_to_floor", {"length": 0}, "scheduler.args.length=0: must be a finite number above 0"),
        ("sigmoid", {"steepness": 0}, "scheduler.args.steepness=0: must be a finite number above 0"),
        ("sigmoid", {"midpoint": -1}, "scheduler.args.midpoint=-1: must be a number from 0 to 1"),
        ("k_decay", {"k": 0}, "scheduler.args.k=0: must be a finite number above 0"),
        ("k_decay", {"power": -1}, "scheduler.args.power=-1: must be a finite number above 0"),
        ("k_decay_cosine", {"k": -2}, "scheduler.args.k=-2: must be a finite number above 0"),
        ("hyperbolic", {"upper_bound": 0.5}, "scheduler.args.upper_bound=0.5: must be a finite number of at least 1"),
        ("slanted_triangular", {"cut_frac": 2}, "scheduler.args.cut_frac=2: must be a number from 0 to 1"),
        ("slanted_triangular", {"ratio": 0}, "scheduler.args.ratio=0: must be a finite number of at least 1"),
        ("inverse_time", {"gamma": -1}, "scheduler.args.gamma=-1: must be a finite number of at least 0"),
        ("inverse_time", {"power": math.inf}, "scheduler.args.power=inf: must be a finite number of at least 0"),
        ("sine", {"form": "square"}, "scheduler.args.form=square: must be one of triangle, sine, cosine, sawtooth"),
        ("sine", {"cycles": 0}, "scheduler.args.cycles=0: must be a number from 0.5 to 1000"),
        ("sine", {"phase": 1.5}, "scheduler.args.phase=1.5: must be a number from 0 to 1"),
        ("sine", {"final": 1.5}, "scheduler.args.final=1.5: must be a number from 0 to 1"),
    ],
)
def test_arguments_that_cannot_be_name_their_key(name: str, wrong: dict[str, Any], message: str) -> None:
    node = FILES[name]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        curve(node["_target_"].removeprefix("lrbench.factors."), 8, **node["args"] | wrong)


def test_a_wrong_argument_is_a_config_error(spec: Spec) -> None:
    with pytest.raises(ConfigError, match=r"scheduler=rex: scheduler\.args\.beta=2: must be a number from 0 to 1"):
        schedule_table(spec("scheduler=rex", "scheduler.args.beta=2"))
