import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from lrbench.config.paths import data_root
from lrbench.data.dataset import load_dataset
from lrbench.schedules.table import schedule_table
from lrbench.spec import ConfigError, TrialSpec
from lrbench.training.device import resolve_device
from lrbench.training.optimizers import build_optimizers, parameter_groups
from lrbench.training.run_cache import RunCache
from lrbench.training.train import train_one
from lrbench.training.trainer import Trainer, build_network
from tests.conftest import Spec


def _net(spec: TrialSpec) -> nn.Module:
    return build_network(spec, load_dataset(spec.data, torch.device("cpu"), data_root()))


def _names(net: nn.Module, group: dict[str, object]) -> set[str]:
    """Return the names of the parameters of a group."""
    members = {id(weight) for weight in group["params"]}  # type: ignore[attr-defined]  # a list
    return {name for name, weight in net.named_parameters() if id(weight) in members}


def test_every_trained_parameter_is_in_one_group(spec: Spec) -> None:
    run = spec("model=resnet20", "model.args.width=4")
    net = _net(run)
    weights, others = (_names(net, group) for group in parameter_groups(run, net))
    assert weights | others == {name for name, weight in net.named_parameters() if weight.requires_grad}
    assert not weights & others
    assert "stem.0.weight" in weights and "head.weight" in weights
    assert {"head.bias", "stem.1.weight", "stem.1.bias"} <= others


def test_a_frozen_parameter_is_in_no_group(spec: Spec) -> None:
    net = _net(spec())
    trained = set().union(*(_names(net, group) for group in parameter_groups(spec(), net)))
    assert "whiten.weight" not in trained
    assert {"bias", "head.weight"} <= trained


def test_biases_have_their_own_rate_and_the_same_decay_per_step(spec: Spec) -> None:
    run = spec("optimizer.bias_lr_factor=16", "optimizer.weight_decay=0.032")
    weights, others = parameter_groups(run, _net(run))
    assert (weights["lr_factor"], weights["weight_decay"]) == (1.0, 0.032)
    assert (others["lr_factor"], others["weight_decay"]) == (16.0, 0.002)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_momentum_is_set_in_its_place(spec: Spec, name: str) -> None:
    run = spec(f"optimizer={name}")
    optimizers = build_optimizers(run, _net(run))
    for momentum in (0.75, None):  # None leaves it unchanged
        optimizers.set_rate(0.5, momentum)
        for group in optimizers.parameter_groups():
            if name == "adamw":
                assert group["betas"] == (0.75, run.optimizer.args["betas"][1])
            else:
                assert group["momentum"] == 0.75


def test_an_argument_that_torch_rejects(spec: Spec) -> None:
    run = spec("optimizer.args.momentum=-1")
    with pytest.raises(ConfigError, match="optimizer=sgd: Invalid momentum value: -1"):
        build_optimizers(run, _net(run))


def test_muon_takes_the_hidden_matrices_only(spec: Spec) -> None:
    run = spec("optimizer=muon")
    net = _net(run)
    hidden, others = (_names(net, group) for group in build_optimizers(run, net).parameter_groups())
    assert hidden and all(net.get_parameter(name).ndim == 2 for name in hidden)
    assert "head.weight" in others and "bias" in others
    assert len(build_optimizers(run, net).state_dicts()) == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model=resnet20"], "model=resnet20 has filters that are not matrices. Use model=fast or model=fast_quarter."),
        (["model=resnet18"], "model=resnet18 has filters that are not matrices. Use model=fast or model=fast_quarter."),
    ],
)
def test_networks_that_muon_does_not_suit(spec: Spec, overrides: list[str], message: str) -> None:
    run = spec("optimizer=muon", *overrides)
    with pytest.raises(ConfigError, match="must have a network of weight matrices") as raised:
        build_optimizers(run, _net(run))
    assert message in str(raised.value)


def test_muon_needs_a_head(spec: Spec) -> None:
    with pytest.raises(ConfigError, match=r"has no head.weight\. Use model=fast"):
        build_optimizers(spec("optimizer=muon"), nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_weight_decay_follows_the_rate(optimizer: type[torch.optim.Optimizer]) -> None:
    """Learning rate 0.1 and weight decay 0.2 take a fiftieth of a weight without a gradient.

    The catalogue of the schedulers says so.
    """
    weight = torch.ones(1, requires_grad=True)
    weight.grad = torch.zeros(1)
    optimizer([weight], lr=0.1, weight_decay=0.2).step()  # type: ignore[call-arg]
    assert weight.item() == pytest.approx(0.98)


MINE = """
import torch

from lrbench.training.device import resolve_device
from lrbench.training.optimizers import Optimizers, parameter_groups


def build(spec, net):
    return Optimizers([torch.optim.Adagrad([group], lr=spec.optimizer.lr) for group in parameter_groups(spec, net)])


def no_optimizers(spec, net):
    return None


class NoOptimizer:
    def __init__(self, groups, lr, **arguments):
        pass
"""


@pytest.fixture
def _mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lrbench_test_optimizer.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("_mine")
def test_a_function_of_the_user_builds_several_optimizers(spec: Spec) -> None:
    run = spec("optimizer._target_=lrbench_test_optimizer.build", "allow=[lrbench_test_optimizer]")
    optimizers = build_optimizers(run, _net(run))
    assert len(optimizers.state_dicts()) == 2
    assert train_one(run).state == "finished"


@pytest.mark.usefixtures("_mine")
@pytest.mark.parametrize(
    ("name", "message"), [("no_optimizers", "must return .*Optimizers"), ("NoOptimizer", "must be a subclass of torch")]
)
def test_a_target_that_builds_no_optimizer(spec: Spec, name: str, message: str) -> None:
    run = spec(f"optimizer._target_=lrbench_test_optimizer.{name}", "allow=[lrbench_test_optimizer]")
    with pytest.raises(ConfigError, match=rf"optimizer\._target_=lrbench_test_optimizer\.{name}: {message}"):
        build_optimizers(run, _net(run))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_frozen_parameter_stays_as_it_is(spec: Spec, optimizer: str) -> None:
    frozen = "model.args.freeze_stem_bias=0.5"
    run = spec(f"optimizer={optimizer}", frozen, "train.epochs=1", "scheduler=constant")
    run = run.resolved(resolve_device("cpu"))
    trainer, other = Trainer(run, RunCache()), Trainer(run, RunCache())
    biases = [trainer.net.get_parameter("bias").detach().clone() for _ in trainer.steps(schedule_table(run))]
    moved = [not torch.equal(before, after) for before, after in itertools.pairwise(biases)]
    assert moved == [True] * 9 + [False] * 10
    assert len(trainer.torch_optimizers.parameter_groups()) == 3
    assert not torch.equal(trainer.net.get_parameter("head.weight"), other.net.get_parameter("head.weight"))
