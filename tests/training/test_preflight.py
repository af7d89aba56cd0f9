import pytest
import torch

from lrbench.spec import ConfigError
from lrbench.training.preflight import check_specs, preflight
from lrbench.training.run_cache import RunCache
from tests.conftest import Spec

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.args.width=-1"], "model.args.width=-1.*: must be above 0 and at most 8"),
        (["model.args.stem_channels=31"], "model.args.stem_channels=31: must be an even number from 2 to 96"),
        (["model.args.activation=step"], "model.args.activation=step: must be one of gelu, relu, silu"),
        (["optimizer=muon", "model=resnet20"], "Use model=fast"),
        (["optimizer.args.momentum=-1"], "Invalid momentum"),
        (["optimizer=muon", "scheduler=schedule_free"], "must be sgd or adamw"),
    ],
)
def test_a_spec_that_cannot_be_trained(spec: Spec, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preflight([spec(*overrides)], RunCache(), print)


def test_a_gpu_that_is_not_there(spec: Spec) -> None:
    with pytest.raises(
        ConfigError, match=r"device=cuda:99: must be a GPU of this machine; torch sees \d+ GPUs\. Use device=cpu"
    ):
        preflight([spec("device=cuda:99")], RunCache(), print)


def test_warnings_before_training(spec: Spec) -> None:
    lines: list[str] = []
    device = preflight([spec("scheduler=cosine"), spec("scheduler=constant")], RunCache(), lines.append)
    assert device.device == "cpu"
    (line,) = lines
    assert line.startswith("constant: the last learning rate is 100 % of the peak")


def test_the_data_are_loaded_only_by_the_preflight(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    run_cache = RunCache()
    monkeypatch.setattr(run_cache, "dataset", lambda data, device, log: loaded.append(data.name))
    check_specs([spec()], print)
    assert loaded == []
    preflight([spec()], run_cache, print)
    assert loaded == ["synthetic"]
