from collections.abc import Callable, Sequence

import pytest

from lrbench.config.compose import load_config
from lrbench.config.lengths import part_bounds, steps_per_epoch, total_steps, train_images
from lrbench.orchestration.plan import make_plan
from lrbench.spec import ConfigError, TrialSpec
from tests.conftest import SMALL

Spec = Callable[..., TrialSpec]


def test_the_length_follows_from_images_batch_and_epochs() -> None:
    cfg = load_config("config", [*SMALL, "train.batch_size=32", "train.epochs=2.5"])
    assert train_images(cfg) == 640  # 64 of 704 are held out
    assert (steps_per_epoch(cfg), total_steps(cfg)) == (20, 50)


def test_a_spec_has_the_length(spec: Spec) -> None:
    parsed = spec("train.batch_size=100", "train.epochs=1", "data.train_images=512")
    assert (parsed.data.train_images, parsed.train.steps_per_epoch, parsed.train.total_steps) == (512, 5, 5)


def test_a_sweep_is_checked_after_all_changes_of_the_command_line() -> None:
    overrides = ["sweep=cpu", "schedulers=[multi_step]", "data=synthetic", "data.images=50000"]
    assert make_plan(overrides).specs()[0].data.train_images == 20_000  # more than the 2,560 of synthetic.yaml


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.train_images=9999",
            "data.train_images=9999: must be from 1 to 640, because 64 of 704 images are held out",
        ),
        ("data.train_images=0", "data.train_images=0: must be from 1 to 640"),
        ("data.holdout_images=704", "data.holdout_images=704: must be less than data.images=704"),
        (
            "train.batch_size=100000",
            "train.batch_size=100000: must be from 1 to 640, the number of training images",
        ),
        ("train.batch_size=0", "train.batch_size=0: must be from 1 to 640"),
        ("train.epochs=0", "train.epochs=0: must give from 1 to 10000000 optimizer steps; got 0"),
        (
            "train.epochs=1e9",
            "train.epochs=1000000000.0: must give from 1 to 10000000 optimizer steps; got 20000000000",
        ),
        ("train.epochs=inf", "train.epochs=inf: must give from 1 to 10000000 optimizer steps"),
    ],
)
def test_a_length_that_is_invalid(spec: Spec, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        spec(override)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("fractions", "bounds"),
    [
        ([0.25, 0.75], [0, 10, 40]),
        ([None], [0, 40]),
        ([0.1, None, 0.25], [0, 4, 30, 40]),
        ([0.1] * 10, range(0, 41, 4)),
    ],
)
def test_bounds_of_parts(fractions: Sequence[float | None], bounds: Sequence[int]) -> None:
    assert part_bounds(fractions, 40) == list(bounds)


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ([0.5, 0.4], "fractions must sum to 1; got [0.5, 0.4]. One of them may be null and takes the remainder."),
        ([0.5, 0.6], "fractions must sum to 1"),
        ([0.5, 0.5, None], "fractions must sum to 1"),
        ([0.5, None, None], "fractions must sum to 1"),
        ([-0.5, None], "each fraction must be above 0 and at most 1; got [-0.5]"),
        ([0.0, None], "each fraction must be above 0"),
        (["half", None], "each fraction must be above 0"),
        ([float("nan"), None], "each fraction must be above 0"),
        ([0.001, None], "each part must have at least one of the 40 steps; got fractions [0.001, None]"),
    ],
)
def test_fractions_that_are_invalid(fractions: Sequence[float | None], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        part_bounds(fractions, 40)
    assert str(raised.value).startswith(f"scheduler.args.parts: {message}")
