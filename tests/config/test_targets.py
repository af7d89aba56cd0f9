from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch

from lrbench.config.targets import ALLOWED, check_targets, locate
from lrbench.spec import ConfigError, TrialSpec
from tests.conftest import ROOT

Spec = Callable[..., TrialSpec]


@pytest.mark.parametrize(
    ("section", "target"),
    [
        ("scheduler", "torch.optim.lr_scheduler.StepLR"),
        ("scheduler", "lrbench.factors.rex"),
        ("scheduler", "lrbench.schedules.sequence"),
        ("optimizer", "torch.optim.SGD"),
        ("model", "lrbench.models.fast"),
        ("data", "lrbench.data.cifar10.source"),
        ("sampler", "optuna.samplers.TPESampler"),
        ("pruner", "optuna.pruners.MedianPruner"),
        ("executor", "lrbench.executors.inline.Inline"),
    ],
)
def test_targets_that_are_allowed(section: str, target: str) -> None:
    check_targets({"_target_": target}, section)


def test_every_section_has_its_prefixes() -> None:
    groups = {
        path.name
        for path in (ROOT / "conf").iterdir()
        if any("_target_:" in config.read_text() for config in path.glob("*.yaml"))
    }
    assert set(ALLOWED) == groups


@pytest.mark.parametrize("section", ALLOWED)
@pytest.mark.parametrize(
    "target", ["os.system", "shutil.rmtree", "torchvision.models.resnet18", "lrbench", "", None, 3]
)
def test_targets_that_are_refused(section: str, target: object) -> None:
    with pytest.raises(ConfigError) as raised:
        check_targets({"_target_": target}, section)
    start = f"{section}._target_={target}: must start with {ALLOWED[section][0]}"
    assert str(raised.value).startswith(start)
    assert str(raised.value).endswith("Add another prefix with allow=[…]")


@pytest.mark.parametrize(
    ("node", "key"),
    [
        ({"args": {"schedulers": [{"_target_": "os.system"}]}}, "scheduler.args.schedulers.0._target_"),
        ({"args": {"parts": {"first": {"scheduler": {"_target_": "os.system"}}}}}, "scheduler.args.parts.first"),
    ],
)
def test_targets_inside_a_composite_are_checked(node: object, key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}"):
        check_targets(node, "scheduler")


@pytest.mark.parametrize("section", ["scheduler", "optimizer", "model", "data"])
def test_every_section_of_a_run_is_checked(spec: Spec, section: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{section}\._target_=os\.system: must start with "):
        spec(f"{section}._target_=os.system")


def test_a_prefix_ends_at_a_dot(spec: Spec) -> None:
    assert spec("scheduler._target_=mine.schedules.f", "allow=[mine]").scheduler.target == "mine.schedules.f"
    for target in ("mine_too.f", "torch.optimizer_evil.f"):
        with pytest.raises(ConfigError, match=r"must start with torch\.optim or lrbench\.factors"):
            spec(f"scheduler._target_={target}", "allow=[mine]")


def test_locate_imports_a_class_or_a_function() -> None:
    assert locate("torch.optim.SGD") is torch.optim.SGD
    assert locate("collections.OrderedDict") is OrderedDict


HELP = "Check the spelling, and that the module is on the Python path"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("torch.optim.lr_scheduler.partial", "must be a class or function that torch defines"),
        ("lrbench.config.paths.Path", "must be a class or function that lrbench defines"),
        ("lrbench.factors.math", "must be a class or function that lrbench defines"),
        ("lrbench.config.targets.ALLOWED", "must be a class or function that lrbench defines"),
        ("torch.optim.Sgd", f"must be a class or function (module 'torch.optim' has no attribute 'Sgd'). {HELP}"),
        ("nowhere.at.all", f"must be a class or function (No module named 'nowhere'). {HELP}"),
        ("nothing", f"must be a class or function (Empty module name). {HELP}"),
    ],
)
def test_locate_refuses_all_else(target: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        locate(target)
    assert str(raised.value) == f"_target_={target}: {message}"
