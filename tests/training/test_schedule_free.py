import sys

import pytest
import torch

from lrbench.spec import ConfigError
from lrbench.training.device import resolve_device
from lrbench.training.preflight import preflight
from lrbench.training.run_cache import RunCache
from lrbench.training.trainer import Trainer
from tests.conftest import Spec


def test_schedule_free_is_evaluated_at_its_average(spec: Spec) -> None:
    """The average x is on the line through the newest weights z and the training weights y.

    y = beta * x + (1 - beta) * z.
    """
    overrides = ("scheduler=schedule_free", "scheduler.args.beta=0.8", "train.epochs=1", "train.precision=float32")
    run = spec(*overrides).resolved(resolve_device("cpu"))
    trainer = Trainer(run, RunCache())
    for images, labels in trainer.batches():
        trainer.step(images, labels)
    weight = trainer.net.get_parameter("head.weight")
    y, z = weight.detach().clone(), trainer.torch_optimizers._optimizers[0].state[weight]["z"].clone()
    score = trainer.evaluate(trainer.data.test)
    torch.testing.assert_close(0.8 * weight.detach() + 0.2 * z, y, rtol=0, atol=1e-6)
    assert not torch.allclose(weight, y)
    norm = next(module for module in trainer.net.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert norm.running_mean is not None
    refreshed = norm.running_mean.clone()
    assert trainer.evaluate(trainer.data.test) == score  # a second evaluation changes nothing
    inputs: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    with torch.no_grad():
        for images in torch.split(trainer.data.train.images, 32):
            trainer.net(trainer.normalize(images))
    by_hand = torch.stack([images.mean((0, 2, 3)) for images in inputs]).mean(0)
    torch.testing.assert_close(refreshed, by_hand, rtol=0, atol=1e-4)
    trainer.step(images=trainer.normalize(trainer.data.train.images[:32]), labels=trainer.data.train.labels[:32])
    assert trainer.net.training and trainer.torch_optimizers.parameter_groups()[0]["train_mode"]


def test_schedule_free_without_its_package(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "schedulefree", None)
    with pytest.raises(ConfigError, match=r"pip install 'lr-scheduler-bench\[schedule-free\]'"):
        preflight([spec("scheduler=cosine"), spec("scheduler=schedule_free")], RunCache(), print)


def test_the_arguments_reach_the_optimizer(spec: Spec) -> None:
    """The two powers and beta are arguments of the scheduler, the rest is of the optimizer."""
    arguments = ("scheduler.args.beta=0.8", "scheduler.args.average_power=1.5", "scheduler.args.rate_power=1.0")
    run = spec("scheduler=schedule_free", "optimizer=adamw", *arguments).resolved(resolve_device("cpu"))
    for group in Trainer(run, RunCache()).torch_optimizers.parameter_groups():
        assert group["betas"] == (0.8, run.optimizer.args["betas"][1])
        assert (group["r"], group["weight_lr_power"]) == (1.5, 1.0)


def test_muon_has_no_schedule_free_version(spec: Spec) -> None:
    with pytest.raises(ConfigError, match="optimizer=muon: must be sgd or adamw for scheduler=schedule_free"):
        preflight([spec("scheduler=schedule_free", "optimizer=muon")], RunCache(), print)


def test_another_scheduler_is_evaluated_at_its_training_weights(spec: Spec) -> None:
    trainer = Trainer(spec("scheduler=constant").resolved(resolve_device("cpu")), RunCache())
    trainer.step(*next(trainer.batches()))
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    trainer.evaluate(trainer.data.test)
    torch.testing.assert_close(dict(trainer.net.state_dict()), before, rtol=0, atol=0)


@pytest.mark.parametrize("change", ["train.average=lookahead", "model.args.freeze_stem_bias=0.5"])
def test_settings_that_schedule_free_does_not_allow(spec: Spec, change: str) -> None:
    with pytest.raises(ConfigError, match=f"^{change.partition('=')[0]}.*scheduler=schedule_free"):
        preflight([spec("scheduler=schedule_free", change)], RunCache(), print)
