from collections.abc import Callable

import pytest

from lrbench.spec import ConfigError, TrialSpec

Spec = Callable[..., TrialSpec]
RUN = ("train.batch_size=32", "train.epochs=2", "optimizer.lr=0.5")  # 640 training images: 40 steps


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${steps:0.25}", 10),
        ("${steps:0.26}", 11),
        ("${epochs:1}", 20),
        ("${formula:'scheduler_steps // 3'}", 13),
        ("${formula:'lr * scheduler_steps'}", 20),
    ],
)
def test_values_in_optimizer_steps(spec: Spec, text: str, value: int) -> None:
    assert spec(*RUN, "scheduler=cosine", f"scheduler.args.T_max={text}").scheduler.args["T_max"] == value


@pytest.mark.parametrize(("text", "value"), [("${steps:0.25}", 2), ("${epochs:5}", 5)])
def test_epochs_are_the_unit_of_interval_epoch(spec: Spec, text: str, value: int) -> None:
    parsed = spec("train.epochs=8", "scheduler=cosine", "scheduler.interval=epoch", f"scheduler.args.T_max={text}")
    assert parsed.scheduler.args["T_max"] == value


def test_a_knob_is_a_fraction_of_the_run(spec: Spec) -> None:
    assert spec(*RUN, "scheduler=cosine", "scheduler.knobs.length=0.25").scheduler.args["T_max"] == 10


def test_a_fraction_inside_a_sequence_is_of_its_part(spec: Spec) -> None:
    parts = spec(*RUN, "scheduler=sequence", "scheduler.args.parts.first.fraction=0.5").scheduler.args["parts"]
    assert parts["second"]["scheduler"]["args"]["T_max"] == 20


def test_the_peak_rate_reaches_schedulers_with_another_name_for_it(spec: Spec) -> None:
    assert spec("scheduler=one_cycle", "optimizer.lr=0.7").scheduler.args["max_lr"] == 0.7
    cyclic = spec("scheduler=cyclic", "optimizer.lr=0.5", "scheduler.knobs.base=0.1").scheduler
    assert cyclic.args["base_lr"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scheduler.args.total_steps=${steps:1.5}", "the fraction of the run must be between 0 and 1; got 1.5"),
        ("scheduler.args.total_steps=${steps:soon}", "the fraction of the run must be between 0 and 1; got soon"),
        ("scheduler.args.total_steps=${epochs:3}", "the epochs must be between 0 and train.epochs=1; got 3"),
        ("scheduler.args.max_lr=${rate:-1}", "the fraction of the peak rate must be at least 0; got -1"),
        ("scheduler.args.total_steps=${formula:'open(1)'}", "unknown name 'open'"),
        ("optimizer.lr=${formula:2}", "a formula must be inside a scheduler's config"),
    ],
)
def test_a_mistake_names_its_key_and_the_rule(spec: Spec, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        spec("scheduler=one_cycle", "train.epochs=1", override)
    assert str(raised.value).startswith(f"{override}: ")
    assert message in str(raised.value)
