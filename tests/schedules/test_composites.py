from collections.abc import Callable

import numpy as np
import pytest

from lrbench.config.lengths import part_bounds
from lrbench.schedules.table import schedule_table
from lrbench.spec import ConfigError, TrialSpec

Spec = Callable[..., TrialSpec]
LENGTH = ("train.epochs=2", "optimizer.lr=0.5")  # 40 steps
PARTS, FACTORS = "scheduler@scheduler.args.parts", "scheduler@scheduler.args.factors"


def _lr(spec: Spec, *overrides: str) -> np.ndarray:
    return schedule_table(spec(*LENGTH, *overrides)).lr


@pytest.mark.parametrize("second", ["one_cycle", "rex", "cyclic", "sequential", "cosine_warm_restarts"])
def test_a_part_of_a_sequence_is_like_a_whole_run(spec: Spec, second: str) -> None:
    """Torch's SequentialLR fails at most of these.

    It starts them late, starts them at another rate, or overwrites the rates of the warm-up.
    """
    joined = _lr(
        spec, "scheduler=sequence", f"{PARTS}.second.scheduler={second}", "scheduler.args.parts.first.fraction=0.25"
    )
    alone = _lr(spec, f"scheduler={second}", "train.epochs=1.5")
    np.testing.assert_allclose(joined[:10], 0.05 + 0.045 * np.arange(10), atol=1e-12)
    np.testing.assert_array_equal(joined[10:], alone)


def test_sequences_nest(spec: Spec) -> None:
    nested = _lr(
        spec, "scheduler=sequence", f"{PARTS}.second.scheduler=sequence", "scheduler.args.parts.first.fraction=0.5"
    )
    np.testing.assert_array_equal(nested[20:], _lr(spec, "scheduler=sequence", "train.epochs=1"))


@pytest.mark.parametrize(
    "chosen", [["scheduler=sequence"], ["scheduler=product", f"{FACTORS}.second=cosine"]], ids=" ".join
)
def test_composed_in_epochs_each_epoch_is_a_step(spec: Spec, chosen: list[str]) -> None:
    in_epochs = _lr(spec, *chosen, "scheduler.interval=epoch", "train.epochs=10")
    in_steps = _lr(spec, *chosen, "train.epochs=10")
    np.testing.assert_array_equal(in_epochs, np.repeat(in_epochs[::20], 20))
    np.testing.assert_allclose(in_epochs[::20], in_steps[::20], atol=1e-12)


def test_a_product_is_the_product_of_its_factors(spec: Spec) -> None:
    chosen = ("scheduler=product", f"{FACTORS}.first=exponential", f"{FACTORS}.second=cosine_warm_restarts")
    by_hand = _lr(spec, "scheduler=exponential") * _lr(spec, "scheduler=cosine_warm_restarts") / 0.5
    np.testing.assert_allclose(_lr(spec, *chosen), by_hand, atol=1e-12)


def test_a_product_of_a_sequence(spec: Spec) -> None:
    product = _lr(spec, "scheduler=product", f"{FACTORS}.first=linear", f"{FACTORS}.second=sequence")
    by_hand = _lr(spec, "scheduler=linear") * _lr(spec, "scheduler=sequence") / 0.5
    np.testing.assert_allclose(product, by_hand, atol=1e-12)


def test_momentum_is_cycled_in_its_part_only(spec: Spec) -> None:
    cycled = "scheduler.args.parts.second.scheduler.args.cycle_momentum=true"
    run = spec(*LENGTH, "scheduler=sequence", f"{PARTS}.second.scheduler=one_cycle", cycled)
    momentum = schedule_table(run).momentum
    assert momentum is not None
    assert (momentum[:4] == 0.9).all()
    assert momentum[4] == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["scheduler=sequence", "scheduler.args.parts.first.fraction=1.5"],
            "each fraction must be above 0 and at most 1",
        ),
        (["scheduler=sequence", "scheduler.args.parts.second.fraction=0.5"], "fractions must sum to 1"),
        (
            ["scheduler=sequence", "scheduler.args.parts.first.fraction=0.001"],
            "each part must have at least one of the",
        ),
        (
            ["scheduler=sequence", "scheduler.args.parts.first.scheduler.args.foo=1"],
            "unknown key scheduler.args.parts.first",
        ),
        (["scheduler=sequence", "scheduler.args.parts.first.scheduler._target_=os.system"], "must start with"),
        (
            ["scheduler=sequence", f"{PARTS}.second.scheduler=schedule_free"],
            "must not contain schedule_free, which replaces the optimizer. Use warmup_constant",
        ),
        (
            ["scheduler=sequence", f"{PARTS}.second.scheduler=plateau"],
            "must not contain plateau, which follows the loss",
        ),
        (["scheduler=product", f"{FACTORS}.second=plateau"], "must not contain plateau, which follows the loss"),
        (
            ["scheduler=sequence", "scheduler.args.parts.second.scheduler.interval=epoch"],
            "cosine must have interval=step.* For epochs, set scheduler.interval=epoch",
        ),
        (
            [
                "scheduler=product",
                f"{FACTORS}.second=one_cycle",
                "scheduler.args.factors.second.args.cycle_momentum=true",
            ],
            "cycle_momentum",
        ),
    ],
)
def test_what_cannot_be_composed(spec: Spec, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        schedule_table(spec(*LENGTH, *overrides))


def test_a_spec_of_composites_goes_through_json(spec: Spec) -> None:
    run = spec("scheduler=sequence", f"{PARTS}.second.scheduler=product")
    again = TrialSpec.model_validate_json(run.model_dump_json(by_alias=True))
    np.testing.assert_array_equal(schedule_table(run).lr, schedule_table(again).lr)


def test_part_bounds() -> None:
    assert part_bounds([0.25, 0.75], 40) == [0, 10, 40]
    assert part_bounds([None], 7) == [0, 7]
    with pytest.raises(ConfigError):
        part_bounds([None, None], 7)
