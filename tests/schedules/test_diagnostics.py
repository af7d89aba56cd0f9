import re

import pytest

from lrbench.config.compose import load_config, parse_spec
from lrbench.schedules.diagnostics import schedule_warnings
from lrbench.schedules.table import schedule_table
from lrbench.spec import ConfigError
from tests.conftest import ROOT, SMALL, Spec

SCHEDULERS = sorted(path.stem for path in (ROOT / "conf" / "scheduler").glob("*.yaml"))
STEPS = 100
LENGTH = ("train.epochs=5", "optimizer.lr=0.5")  # 640 images in batches of 32: 20 steps an epoch

BY_DESIGN = ("constant", "warmup", "warmup_constant")  # their files have one warning, which is true and intended

TORCH = "torch.optim.lr_scheduler"
WARM_UP = f"{{_target_: {TORCH}.LinearLR, args: {{start_factor: 0.1, total_iters: 10}}}}"
COSINE = f"{{_target_: {TORCH}.CosineAnnealingLR, args: {{T_max: 90}}}}"
DECAY = f"{{_target_: {TORCH}.ExponentialLR, args: {{gamma: 0.96}}}}"
RESTARTS = f"{{_target_: {TORCH}.CosineAnnealingWarmRestarts, args: {{T_0: 25}}}}"
ONE_CYCLE = f"{{_target_: {TORCH}.OneCycleLR, args: {{max_lr: 0.5, total_steps: 90, cycle_momentum: false}}}}"
CYCLIC = (
    f"{{_target_: {TORCH}.CyclicLR, args: {{base_lr: 0.01, max_lr: 0.5, step_size_up: 45, cycle_momentum: false}}}}"
)
CHAIN = f"{{_target_: {TORCH}.ChainedScheduler, args: {{schedulers: [{COSINE}, {DECAY}]}}}}"
SEQUENCE = f"{{_target_: {TORCH}.SequentialLR, args: {{schedulers: [{COSINE}, {DECAY}], milestones: [50]}}}}"


def sequential(*members: str, milestone: int = 10) -> list[str]:
    return [
        "scheduler=sequential",
        f"scheduler.args.schedulers=[{', '.join(members)}]",
        f"scheduler.args.milestones=[{milestone}]",
    ]


def chained(*members: str) -> list[str]:
    return ["scheduler=chained", f"scheduler.args.schedulers=[{', '.join(members)}]"]


def _warnings(spec: Spec, *overrides: str) -> list[str]:
    run = spec(*LENGTH, *overrides)
    return schedule_warnings(run, schedule_table(run))


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 7.8])
def test_the_defaults_give_no_warning(epochs: float) -> None:
    """At 20 steps, rounding to whole steps matters most. 7.8 epochs end inside an epoch.

    Runs of 2, 5 and 50 epochs had the same warnings.
    """
    for name in SCHEDULERS:
        run = parse_spec(load_config("config", [*SMALL, f"scheduler={name}", f"train.epochs={epochs}"]))
        warnings = schedule_warnings(run, schedule_table(run))
        if name in BY_DESIGN:
            (warning,) = warnings
            assert warning.startswith("the last learning rate is")
        else:
            assert not warnings, name


TRAPS = {
    "OneCycleLR in a sequence": (sequential(WARM_UP, ONE_CYCLE), "scheduler.args.schedulers[1] is a OneCycleLR", 1),
    "a chain in a sequence": (
        sequential(CHAIN, COSINE, milestone=1),
        "[0] is a ChainedScheduler inside SequentialLR",
        None,
    ),
    "a sequence in a sequence": (
        sequential(SEQUENCE, DECAY, milestone=60),
        "[0] is a SequentialLR inside SequentialLR",
        None,
    ),
    "restarts last in a chain": (chained(DECAY, RESTARTS), "[1] is a CosineAnnealingWarmRestarts, which overwrites", 1),
    "OneCycleLR last in a chain": (
        chained(WARM_UP, ONE_CYCLE.replace("90", "100")),
        "[1] is a OneCycleLR, which overwrites",
        1,
    ),
    "cyclic momentum": (
        ["scheduler=cyclic", "scheduler.args.cycle_momentum=true"],
        "scheduler.args.cycle_momentum=false",
        1,
    ),
    "beta1": (
        ["scheduler=one_cycle", "optimizer=adamw", "scheduler.args.cycle_momentum=true"],
        "instead of optimizer.args.betas",
        1,
    ),
    "max_lr by hand, OneCycleLR": (
        ["scheduler=one_cycle", "scheduler.args.max_lr=0.1"],
        "optimizer.lr=0.5 has no effect",
        1,
    ),
    "max_lr by hand, CyclicLR": (
        ["scheduler=cyclic", "scheduler.args.max_lr=0.1"],
        "scheduler.args.max_lr=0.1 is the peak",
        1,
    ),
    "CyclicLR after a warm-up": (
        sequential(WARM_UP, CYCLIC),
        "the learning rate drops to scheduler.args.schedulers[1].args.base_lr=0.01",
        None,
    ),
    "cosine past its end": (["scheduler=cosine", "scheduler.args.T_max=50"], "scheduler.args.T_max=100", None),
    "cosine past its end, by its knob": (
        ["scheduler=cosine", "scheduler.knobs.length=0.6"],
        "args.T_max=60 is less than the 100 steps",
        None,
    ),
    "cosine in a sequence": (sequential(WARM_UP, COSINE.replace("90", "40")), "schedulers[1].args.T_max=90", None),
    "cosine back at the peak": (["scheduler=cosine", "scheduler.knobs.length=0.5"], "by 100 % of the fall", 1),
    "cosine with a floor above the peak": (
        ["scheduler=cosine", "scheduler.args.eta_min=1.0"],
        "reaches 2 times the peak rate optimizer.lr=0.5: set scheduler.args.eta_min, now 1",
        1,
    ),
    "polynomial with a negative power": (
        ["scheduler=polynomial", "scheduler.args.power=-1"],
        "reaches 100 times the peak rate optimizer.lr=0.5: set scheduler.args.power, now -1, to at least 0",
        1,
    ),
    "exponential that grows": (
        ["scheduler=exponential", "scheduler.args.gamma=1.1"],
        "set scheduler.args.gamma, now 1.1, to at most 1",
        1,
    ),
    "step that grows": (["scheduler=step", "scheduler.args.gamma=2.0"], "set scheduler.args.gamma, now 2", 1),
    "cyclic upside down": (
        ["scheduler=cyclic", "scheduler.args.base_lr=1.0"],
        "set scheduler.args.base_lr, now 1, to at most optimizer.lr",
        1,
    ),
    "a formula above the peak": (
        ["scheduler=lambda", "scheduler.args.lr_lambda='3 - 3 * progress'"],
        "reaches 3 times the peak rate optimizer.lr=0.5: set scheduler.args.lr_lambda",
        1,
    ),
    "plateau with a floor above the peak": (["scheduler=plateau", "scheduler.args.min_lr=1.0"], "min_lr=1 is above", 1),
    "plateau of an accuracy": (["scheduler=plateau", "scheduler.args.mode=max"], "set scheduler.args.mode=min", 1),
    "a jump up after a staircase": (
        sequential(
            f"{{_target_: {TORCH}.StepLR, args: {{step_size: 15, gamma: 0.5}}}}",
            f"{{_target_: {TORCH}.ExponentialLR, args: {{gamma: 0.9}}}}",
            milestone=62,
        ),
        "jumps from 0.03125 to 0.5 at step 62",
        1,
    ),
    "polynomial of five steps": (
        ["scheduler=polynomial", "scheduler.args.total_iters=5"],
        "scheduler.args.total_iters=5, torch's default",
        2,
    ),
    "linear of five steps": (
        sequential(WARM_UP.replace(", total_iters: 10", ""), COSINE),
        "schedulers[0].args.total_iters=5",
        1,
    ),
    "zero for half of the run": (
        ["scheduler=polynomial", "scheduler.knobs.length=0.5"],
        "zero in the last 50 % of the run",
        1,
    ),
    "zero for half, the key": (["scheduler=polynomial", "scheduler.knobs.length=0.5"], "scheduler.knobs.length", 1),
    "never decayed": (
        ["scheduler=linear", "scheduler.args.end_factor=0.8"],
        "the last learning rate is 80 % of the peak",
        1,
    ),
    "a jump": (sequential(WARM_UP, DECAY.replace("0.96", "0.97"), milestone=5), "jumps from", 1),
    "a cut triangle": (
        ["scheduler=cyclic", "scheduler.args.step_size_up=20", "scheduler.args.step_size_down=20"],
        "the last cycle is only 50 % complete",
        None,
    ),
    "a cut cosine": (
        ["scheduler=cosine_warm_restarts", "scheduler.args.T_0=40"],
        "scheduler.args.T_0=40 does not fit",
        None,
    ),
    "a member of sequence": (
        ["scheduler=sequence", "scheduler.args.parts.second.scheduler.args.T_max=40"],
        "scheduler.args.parts.second.scheduler.args.T_max=90",
        None,
    ),
    "a warm-up under one step": (
        ["scheduler=warmup_cosine", "scheduler.args.warmup=0.005"],
        "scheduler.args.warmup=0.005 is less",
        1,
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_traps(spec: Spec, trap: str) -> None:
    overrides, sentence, count = TRAPS[trap]
    warnings = _warnings(spec, *overrides)
    assert any(sentence in warning for warning in warnings), warnings
    assert count is None or len(warnings) == count, warnings
    for warning in warnings:
        assert re.search(r"\b(scheduler\.\w|optimizer\.lr)|the last learning rate is", warning)  # the key
        assert re.search(r": (set|put it first, or set) (scheduler|optimizer)", warning)  # the remedy
        assert "\n" not in warning and not warning.endswith(".")


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_the_traps_are_what_torch_does(spec: Spec) -> None:
    def lr(*overrides: str) -> list[float]:
        return [round(float(rate), 4) for rate in schedule_table(spec(*LENGTH, *overrides)).lr]

    assert lr(*sequential(WARM_UP, ONE_CYCLE))[0] == 0.002  # 0.05 / 25
    chain = lr(*chained(RESTARTS, DECAY)), lr(*chained(DECAY, RESTARTS))
    assert chain[0] != chain[1] and chain[1][25] == 0.5  # no decay left
    assert lr(*sequential(CHAIN, COSINE, milestone=60))[0] < 0.5  # begins at its second rate
    assert lr(*sequential(WARM_UP, CYCLIC))[10] == 0.01
    assert lr("scheduler=cosine", "scheduler.args.T_max=50")[99] > 0.49
    assert lr("scheduler=polynomial", "scheduler.args.total_iters=5")[5] == 0
    assert lr("scheduler=one_cycle", "optimizer.lr=0.7", "scheduler.args.max_lr=0.1") == lr(
        "scheduler=one_cycle", "scheduler.args.max_lr=0.1"
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ["scheduler=one_cycle", "scheduler.args.total_steps=50"],
        sequential(WARM_UP, f"{{_target_: {TORCH}.ReduceLROnPlateau, args: {{}}}}"),
        chained(WARM_UP, f"{{_target_: {TORCH}.ReduceLROnPlateau, args: {{}}}}"),
    ],
    ids=["OneCycleLR past its length", "ReduceLROnPlateau in a sequence", "ReduceLROnPlateau in a chain"],
)
def test_what_torch_refuses_is_refused_before_training(spec: Spec, overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match="scheduler="):
        _warnings(spec, *overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["scheduler=step", "scheduler.args.gamma=0.01"],
        ["scheduler=lambda", "scheduler.args.lr_lambda='0.1 ** floor(3 * progress)'"],  # a staircase is one by design
        ["scheduler=sequential", "scheduler.knobs.warmup=0.05"],  # five of 100 steps, from a fraction of them
        ["scheduler=cosine", "scheduler.interval=epoch"],
        ["scheduler=cyclic", "scheduler.knobs.cycles=3"],
        ["scheduler=cosine_warm_restarts", "scheduler.args.T_mult=1", "scheduler.knobs.cycles=3"],
        ["scheduler=warmup_cosine", "scheduler.args.warmup=0"],
        chained(RESTARTS, DECAY),
        ["scheduler=plateau"],
        ["scheduler=sequence", "scheduler.args.parts.first.fraction=0.05"],
        ["scheduler=product"],
    ],
    ids=" ".join,
)
def test_no_false_alarm(spec: Spec, overrides: list[str]) -> None:
    assert _warnings(spec, *overrides) == []


@pytest.mark.parametrize("name", ["constant", "cosine", "linear"])
def test_a_run_of_one_or_two_steps_cannot_decay(spec: Spec, name: str) -> None:
    for epochs in (0.05, 0.1):
        run = spec(f"train.epochs={epochs}", f"scheduler={name}")
        assert schedule_warnings(run, schedule_table(run)) == []
