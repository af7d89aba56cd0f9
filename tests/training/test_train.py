import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from lrbench.results.result import TrialResult, thinned
from lrbench.schedules.table import schedule_table
from lrbench.spec import ConfigError, TrialSpec
from lrbench.training.device import resolve_device
from lrbench.training.preflight import preflight
from lrbench.training.resident import Resident
from lrbench.training.train import Progress, train_one
from lrbench.training.trainer import Trainer, seeded_generator

Spec = Callable[..., TrialSpec]


@pytest.mark.parametrize("scheduler", ["one_cycle", "cyclic", "sequential", "lambda"])
def test_rates_in_training_are_the_table(spec: Spec, scheduler: str) -> None:
    run = spec(f"scheduler={scheduler}", "train.epochs=2.5")
    np.testing.assert_array_equal(train_one(run).curves["lr"].values, schedule_table(run).lr)


def test_plateau_cuts_the_rate_as_torch_does_on_the_same_losses(spec: Spec) -> None:
    chosen = (
        "scheduler=plateau",
        "scheduler.args.patience=0",
        "scheduler.args.threshold=0.05",
        "scheduler.args.factor=0.5",
    )
    result = train_one(spec(*chosen, "train.epochs=4", "train.eval_epochs=0.25", "optimizer.lr=0.5"))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.05)
    rates, losses = result.curves["lr"].values, result.curves["val/loss"]
    assert len(losses.steps) == 16
    for step, loss in zip(losses.steps[:-1], losses.values, strict=False):
        torchs.step(loss)
        assert rates[step] == optimizer.param_groups[0]["lr"]
    assert rates[-1] < 0.5


def test_momentum_in_training_is_the_table(spec: Spec) -> None:
    run = spec("scheduler.args.cycle_momentum=true").resolved(resolve_device("cpu"))
    schedule, trained = schedule_table(run), Trainer(run, Resident())
    assert schedule.momentum is not None
    for step in range(3):
        trained.set_rate(schedule, step)
        assert trained.optimizers.parameter_groups()[0]["momentum"] == schedule.momentum[step]


def test_schedule_free_is_evaluated_at_its_average(spec: Spec) -> None:
    """The average x lies on the line from its newest weights z to y, where it is trained: y = beta
    x + (1 - beta) z.
    """
    overrides = ("scheduler=schedule_free", "scheduler.args.beta=0.8", "train.epochs=1", "train.precision=float32")
    run = spec(*overrides).resolved(resolve_device("cpu"))
    trained = Trainer(run, Resident())
    for images, labels in trained.batches():
        trained.step(images, labels)
    weight = trained.net.get_parameter("head.weight")
    y, z = weight.detach().clone(), trained.optimizers._optimizers[0].state[weight]["z"].clone()
    score = trained.evaluate(trained.data.test)
    torch.testing.assert_close(0.8 * weight.detach() + 0.2 * z, y, rtol=0, atol=1e-6)
    assert not torch.allclose(weight, y)
    norm = next(module for module in trained.net.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert norm.running_mean is not None
    refreshed = norm.running_mean.clone()
    assert trained.evaluate(trained.data.test) == score  # twice is once
    inputs: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with torch.no_grad():
        for images in torch.split(trained.data.train.images, 32):
            trained.net(trained.normalize(images))
    by_hand = torch.stack([images.mean((0, 2, 3)) for images in inputs]).mean(0)
    torch.testing.assert_close(refreshed, by_hand, rtol=0, atol=1e-4)
    trained.step(images=trained.normalize(trained.data.train.images[:32]), labels=trained.data.train.labels[:32])
    assert trained.net.training and trained.optimizers.parameter_groups()[0]["train_mode"]


def test_schedule_free_without_its_package(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(ConfigError, match=r"pip install 'lr-scheduler-bench\[schedule-free\]'"):
        preflight([spec("scheduler=cosine"), spec("scheduler=schedule_free")], Resident(), print)


def test_same_spec_same_result_bit_by_bit(spec: Spec) -> None:
    run = spec("data.flip=random", "data.crop_padding=2", "train.epochs=2")
    assert train_one(run).without_times() == train_one(run).without_times()


@pytest.mark.parametrize(
    "change", ["seed=1", "scheduler=constant", "optimizer.lr=0.1", "data.crop_padding=2", "data.seed=1"]
)
def test_what_is_changed_matters(spec: Spec, change: str) -> None:
    assert train_one(spec()).curves["train/loss"].values != train_one(spec(change)).curves["train/loss"].values


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer=adamw"],
        ["optimizer=muon"],
        ["optimizer.bias_lr_factor=16"],
        ["model=fast", "model.args.width=0.125"],
        ["model=resnet20", "model.args.width=8"],
        ["train.precision=bfloat16"],
        ["scheduler=schedule_free"],
        ["scheduler=schedule_free", "optimizer=adamw"],
    ],
    ids=" ".join,
)
def test_learns(spec: Spec, overrides: list[str]) -> None:
    result = train_one(spec(*overrides, "data.images=1600", "train.epochs=3"))
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
    assert len(result.curves["lr"].steps) < 80
    assert TrialResult.model_validate_json(result.model_dump_json(by_alias=True)) == result


def test_reports_progress(spec: Spec) -> None:
    seen: list[Progress] = []
    train_one(spec("train.epochs=2"), seen.append)
    assert [progress.epoch for progress in seen] == sorted(progress.epoch for progress in seen)
    assert seen[-1].epoch == 2
    assert seen[-1].accuracy is not None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.args.width=-1"], "model.args.width=-1"),
        (["model.args.stem_channels=31"], "model.args.stem_channels=31: an even number"),
        (["model.args.activation=step"], "gelu, relu, silu"),
        (["optimizer=muon", "model=resnet20"], "Use model=fast"),
        (["optimizer.args.momentum=-1"], "Invalid momentum"),
        (["optimizer=muon", "scheduler=schedule_free"], "must be sgd or adamw"),
    ],
)
def test_examine_finds_what_cannot_be_built(spec: Spec, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preflight([spec(*overrides)], Resident(), print)


def test_a_gpu_that_is_not_there(spec: Spec) -> None:
    with pytest.raises(ConfigError, match=r"device=cuda:99: torch sees \d+ GPUs here"):
        preflight([spec("device=cuda:99")], Resident(), print)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
def test_trains_on_a_gpu(spec: Spec) -> None:
    result = train_one(spec("device=cuda", "data.images=1600", "train.epochs=3"))
    assert result.state == "finished"
    assert result.spec.train.precision == "bfloat16"
    assert result.last("val/accuracy") > 0.2


def test_generators_differ_by_seed_and_purpose() -> None:
    seeds = {
        generator.initial_seed()
        for seed in range(3)
        for generator in (seeded_generator(seed, "weights"), seeded_generator(seed, "batches"))
    }
    assert len(seeds) == 6


def test_thinned_keeps_both_ends() -> None:
    kept = thinned(100_000)
    assert (kept[0], kept[-1], len(kept), len(set(kept))) == (0, 99_999, 2500, 2500)


def test_a_weight_that_is_infinite_is_found_where_the_loss_does_not_show_it(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def broken(run: Trainer, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = step(run, images, labels)
        run.net.get_parameter("bias").data[0] = -torch.inf  # before a ReLU
        return loss

    monkeypatch.setattr(Trainer, "step", broken)
    result = train_one(spec("train.epochs=2", "train.eval_epochs=0.5", "model.args.convolutions=1"))
    assert (result.state, result.reason) == ("diverged", "a weight is not finite after 10 steps")
