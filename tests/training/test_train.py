"""The training loop. Its checkpoints have their own tests."""

import numpy as np
import pytest
import torch

from lrbench.results.result import EXTRA_TEST_ACCURACIES, LossSpikes, Progress, TrialResult
from lrbench.schedules.table import schedule_table
from lrbench.training.train import train_one
from lrbench.training.trainer import Trainer
from tests.builders import without_times
from tests.conftest import Spec


@pytest.mark.parametrize("scheduler", ["one_cycle", "cyclic", "sequential", "lambda"])
def test_rates_in_training_are_the_table(spec: Spec, scheduler: str) -> None:
    run = spec(f"scheduler={scheduler}", "train.epochs=2.5")
    np.testing.assert_array_equal(train_one(run).curves["lr"].values, schedule_table(run).lr)


def test_plateau_cuts_the_rate_as_torch_does_on_the_same_losses(spec: Spec) -> None:
    overrides = (
        "scheduler=plateau",
        "scheduler.args.patience=0",
        "scheduler.args.threshold=0.05",
        "scheduler.args.factor=0.5",
    )
    result = train_one(spec(*overrides, "train.epochs=4", "train.eval_epochs=0.25", "optimizer.lr=0.5"))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.05)
    rates, losses = result.curves["lr"].values, result.curves["val/loss"]
    assert len(losses.steps) == 16
    for step, loss in zip(losses.steps[:-1], losses.values, strict=False):
        torchs.step(loss)
        assert rates[step] == optimizer.param_groups[0]["lr"]
    assert rates[-1] < 0.5


def test_same_spec_same_result_bit_by_bit(spec: Spec) -> None:
    run = spec("data.flip=random", "data.crop_padding=2", "train.epochs=2")
    assert without_times(train_one(run)) == without_times(train_one(run))


@pytest.mark.parametrize(
    "change", ["seed=1", "scheduler=constant", "optimizer.lr=0.1", "data.crop_padding=2", "data.seed=1"]
)
def test_a_change_of_the_spec_changes_the_result(spec: Spec, change: str) -> None:
    assert train_one(spec()).curves["train/loss"].values != train_one(spec(change)).curves["train/loss"].values


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=adamw"],
        ["optimizer=muon"],
        ["optimizer.bias_lr_factor=16"],
        ["model=fast", "model.args.width=0.125"],
        ["model=resnet20", "model.args.width=4", "train.epochs=1.5"],
        ["train.precision=bfloat16"],
        ["scheduler=schedule_free"],
        ["scheduler=schedule_free", "optimizer=adamw"],
    ],
    ids=" ".join,
)
def test_learns(spec: Spec, overrides: list[str]) -> None:
    result = train_one(spec("data.images=1600", "train.epochs=3", *overrides))
    losses = result.curves["train/loss"].values
    assert result.state == "finished"
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:5])
    assert result.last("val/accuracy") > 0.2


def test_search_runs_do_not_see_the_test_images(spec: Spec) -> None:
    assert set(train_one(spec("phase=search")).curves) == {"lr", "train/loss", "val/loss", "val/accuracy"}
    assert set(train_one(spec("phase=final")).curves) == {
        "lr",
        "train/loss",
        "val/loss",
        "val/accuracy",
        "test/loss",
        "test/accuracy",
    }


def test_validates_at_the_chosen_epochs_and_at_the_end(spec: Spec) -> None:
    curve = train_one(spec("train.epochs=2.5", "train.eval_epochs=1")).curves["val/accuracy"]
    assert curve.steps == [20, 40, 50]


def test_divergence_ends_a_run_early_and_is_marked(spec: Spec) -> None:
    result = train_one(
        spec("optimizer.lr=1e30", "scheduler=constant", "train.epochs=4", "optimizer.search.lr.high=1e31")
    )
    assert (result.state, result.last("val/accuracy"), result.last("test/accuracy")) == ("diverged", 0.1, 0.1)
    assert "not finite" in result.reason
    assert result.has_loss_spikes
    assert len(result.curves["lr"].steps) < 80
    assert TrialResult.model_validate_json(result.model_dump_json(by_alias=True)) == result


def test_a_blown_up_start_is_seen(spec: Spec) -> None:
    high = "optimizer.lr=100", "optimizer.search.lr.high=200"
    result = train_one(spec(*high, "scheduler=constant", "train.epochs=4"))
    assert result.loss_spikes is not None and result.loss_spikes.largest is not None
    assert (result.state, result.loss_spikes.first_step) == ("finished", 1)
    assert result.loss_spikes.largest > 3 * np.log(10)
    assert train_one(spec()).loss_spikes == LossSpikes(steps=0)


@pytest.mark.parametrize("average", ["ema", "lookahead"])
def test_extra_test_accuracies(spec: Spec, average: str) -> None:
    """They stand beside the plain accuracy. Views and EMA do not change it."""
    plain = train_one(spec())
    both = train_one(spec("train.test_views=6", f"train.average={average}"))
    assert {name for name in both.curves if name not in plain.curves} == set(EXTRA_TEST_ACCURACIES)
    assert all(0 <= both.last(name) <= 1 for name in EXTRA_TEST_ACCURACIES)
    same = both.curves["train/loss"].values == plain.curves["train/loss"].values
    assert same == (average == "ema")
    if average == "ema":
        assert both.last("test/accuracy") == plain.last("test/accuracy")
    searched = train_one(spec("phase=search", "train.test_views=6", f"train.average={average}"))
    assert not [name for name in searched.curves if name.startswith("test/")]


def test_reports_progress(spec: Spec) -> None:
    seen: list[Progress] = []
    train_one(spec("train.epochs=2"), seen.append)
    assert [progress.epoch for progress in seen] == sorted(progress.epoch for progress in seen)
    assert seen[-1].epoch == 2
    assert seen[-1].accuracy is not None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_trains_on_a_gpu(spec: Spec) -> None:
    result = train_one(spec("device=cuda", "data.images=1600", "train.epochs=3"))
    assert result.state == "finished"
    assert result.spec.train.precision == "bfloat16"
    assert result.last("val/accuracy") > 0.2


def test_an_infinite_weight_is_found_behind_a_finite_loss(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Trainer.step

    def broken(run: Trainer, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = step(run, images, labels)
        run.net.get_parameter("bias").data[0] = -torch.inf  # before a ReLU
        return loss

    monkeypatch.setattr(Trainer, "step", broken)
    result = train_one(spec("train.epochs=2", "train.eval_epochs=0.5", "model.args.convolutions=1"))
    assert (result.state, result.reason) == ("diverged", "a weight is not finite after 10 steps")
