import pytest
import torch

from lrbench.spec import ConfigError
from tests.models.networks import network, network_for


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("resnet20", 269_722),  # 0.27 million in He et al. 2015, table 6
        ("resnet18", 11_173_962),  # the usual ResNet-18 for CIFAR-10
    ],
)
def test_size(model: str, parameters: int) -> None:
    assert sum(weight.numel() for weight in network(model).parameters()) == pytest.approx(parameters, rel=2e-3)


@pytest.mark.parametrize("model", ["resnet20", "resnet18"])
def test_logits(model: str) -> None:
    assert network(model)(torch.randn(4, 3, 32, 32)).shape == (4, 10)
    assert network_for(model, image_size=24, classes=7)(torch.randn(4, 3, 24, 24)).shape == (4, 7)


@pytest.mark.parametrize("model", ["resnet20", "resnet18"])
@pytest.mark.parametrize("size", [1, 5])
def test_images_of_any_size(model: str, size: int) -> None:
    """A convolution with stride 2 has a padding, so one pixel stays one pixel."""
    assert network_for(model, image_size=size)(torch.randn(4, 3, size, size)).shape == (4, 10)


def test_weights_follow_the_seed() -> None:
    one, again, other = (network("resnet20", f"seed={seed}").state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("width", [0, 513])
def test_invalid_width(width: int) -> None:
    with pytest.raises(ConfigError) as raised:
        network("resnet20", f"model.args.width={width}")
    assert str(raised.value) == f"model.args.width={width}: must be from 1 to 512"
