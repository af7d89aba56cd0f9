from collections.abc import Callable

import pytest
import torch
from rich.console import Console

from lrbench.config.compose import load_config, parse_spec
from lrbench.orchestration.progress import status_log
from lrbench.schedules.diagnostics import schedule_warnings
from lrbench.schedules.table import schedule_table
from lrbench.spec import ConfigError, TrialSpec
from lrbench.training.preflight import preflight
from lrbench.training.resident import Resident
from tests.conftest import ROOT, SMALL

Spec = Callable[..., TrialSpec]
SCHEDULERS = sorted(path.stem for path in (ROOT / "conf" / "scheduler").glob("*.yaml"))
STEPS = 100
LENGTH = ("train.epochs=5", "optimizer.lr=0.5")  # 640 images in batches of 32: 20 steps an epoch

BY_DESIGN = dict.fromkeys(
    ("constant", "warmup", "warmup_constant"), "it never decays"
)  # what the default of a file is told, as it is true and meant

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


def _found(spec: Spec, *overrides: str) -> list[str]:
    described = spec(*LENGTH, *overrides)
    return schedule_warnings(described, schedule_table(described))


@pytest.mark.parametrize("epochs", ["1", "2", "5", "7.8", "50"])
def test_the_defaults_give_no_finding(epochs: str) -> None:
    for name in SCHEDULERS:
        described = parse_spec(load_config("config", [*SMALL, f"scheduler={name}", f"train.epochs={epochs}"]))
        found = schedule_warnings(described, schedule_table(described))
        if name in BY_DESIGN:
            assert len(found) == 1 and BY_DESIGN[name] in found[0]
        else:
            assert not found, name


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
        "place of optimizer.args.betas",
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
        "schedulers[1].args.base_lr=0.01 is where the rate drops to",
        None,
    ),
    "cosine past its end": (["scheduler=cosine", "scheduler.args.T_max=50"], "scheduler.args.T_max=100", None),
    "cosine past its end, by its knob": (
        ["scheduler=cosine", "scheduler.knobs.length=0.6"],
        "args.T_max=60 is over before",
        None,
    ),
    "cosine in a sequence": (sequential(WARM_UP, COSINE.replace("90", "40")), "schedulers[1].args.T_max=90", None),
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
    "never decayed": (["scheduler=linear", "scheduler.args.end_factor=0.8"], "the last rate is 80 % of the peak", 1),
    "a jump": (sequential(WARM_UP, DECAY.replace("0.96", "0.97"), milestone=5), "jumps from", 1),
    "a cut triangle": (
        ["scheduler=cyclic", "scheduler.args.step_size_up=20", "scheduler.args.step_size_down=20"],
        "after 50 % of its last cycle",
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
    found = _found(spec, *overrides)
    assert any(sentence in finding for finding in found), found
    assert all("\n" not in finding and not finding.endswith(".") for finding in found)
    assert count is None or len(found) == count, found


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


def test_a_scheduler_always_begins_on_a_new_optimizer(spec: Spec) -> None:
    """Torch's second scheduler on a used optimizer starts from the old `initial_lr`, whatever the
    rate is set to before.
    """
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    optimizer.param_groups[0]["lr"] = 0.5
    torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    optimizer.step()
    assert optimizer.param_groups[0]["initial_lr"] == 0.1
    first, second = (
        schedule_table(spec(*LENGTH, "scheduler=constant", f"optimizer.lr={lr}")).lr[0] for lr in (0.1, 0.5)
    )
    assert (first, second) == (0.1, 0.5)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_weight_decay_follows_the_rate(optimizer: type[torch.optim.Optimizer]) -> None:
    """As the catalogue says: a step of rate 0.1 and weight decay 0.2 takes a fiftieth of a weight
    that has no gradient.
    """
    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.zeros(1)
    optimizer([weight], lr=0.1, weight_decay=0.2).step()  # type: ignore[call-arg]
    assert weight.item() == pytest.approx(0.98)


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
        _found(spec, *overrides)


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
    assert _found(spec, *overrides) == []


def test_said_before_training(spec: Spec) -> None:
    said: list[str] = []
    preflight([spec("scheduler=constant")], Resident(), said.append)
    assert said[0].startswith("constant: it never decays")


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_said_stays(terminal: bool) -> None:
    console = Console(force_terminal=terminal, record=True, quiet=False, width=200)
    with status_log(console) as say:
        say("scheduler.args.schedulers[a] is told")
    assert "scheduler.args.schedulers[a] is told" in console.export_text()
