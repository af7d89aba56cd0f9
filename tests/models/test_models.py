from collections.abc import Callable

import pytest
import torch
from torch import nn

from lrbench.config.paths import data_root
from lrbench.data.batches import Normalize
from lrbench.data.dataset import load_dataset
from lrbench.models.airbench import MatrixConv, _MaxPool
from lrbench.spec import TrialSpec
from lrbench.training.trainer import build_network

Spec = Callable[..., TrialSpec]
CPU = torch.device("cpu")


def _net(spec: TrialSpec) -> nn.Module:
    return build_network(spec, load_dataset(spec.data, CPU, data_root()))


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("resnet20", 269_722),  # 0.27 million in He et al. 2015, table 6
        ("resnet18", 11_173_962),  # the usual ResNet-18 for CIFAR-10
        ("fast", 1_974_424),  # airbench94: a frozen stem of 288, a bias of 24, convolutions, norm biases, a head
    ],
)
def test_size(spec: Spec, model: str, parameters: int) -> None:
    net = _net(_model(spec, model))
    assert sum(weight.numel() for weight in net.parameters() if weight.requires_grad or "whiten" not in model) >= 0
    assert sum(weight.numel() for weight in net.parameters()) == pytest.approx(parameters, rel=2e-3)


@pytest.mark.parametrize("model", ["fast", "fast_quarter", "resnet20", "resnet18"])
def test_logits_for_ten_classes(spec: Spec, model: str) -> None:
    assert _net(_model(spec, model))(torch.randn(4, 3, 32, 32)).shape == (4, 10)


@pytest.mark.parametrize("model", ["fast", "resnet20"])
def test_weights_follow_the_seed(spec: Spec, model: str) -> None:
    one, again, other = (_net(_model(spec, model, f"seed={seed}")).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_building_a_net_leaves_the_global_generator_alone(spec: Spec) -> None:
    before = torch.get_rng_state()
    _net(_model(spec, "fast"))
    assert torch.equal(before, torch.get_rng_state())


def test_stem_whitens_patches(spec: Spec) -> None:
    chosen = _model(spec, "fast")
    net, data = _net(chosen), load_dataset(chosen.data, CPU, data_root())
    whiten = net.get_submodule("whiten")
    outputs = whiten(Normalize(data, CPU)(data.train.images)).permute(0, 2, 3, 1).reshape(-1, 24)[:, :12].detach()
    covariance = outputs.T @ outputs / len(outputs)
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.15, rtol=0)


@pytest.mark.parametrize("pool", ["before", "after"])
def test_convolutions_begin_as_identities(spec: Spec, pool: str) -> None:
    net = _net(_model(spec, "fast", f"model.args.pool={pool}"))
    first = next(module for module in net.modules() if type(module).__name__ == "MatrixConv")
    x = torch.randn(2, 24, 8, 8)
    torch.testing.assert_close(first(x)[:, :24], x)


def _model(spec: Spec, model: str, *overrides: str) -> TrialSpec:
    """`spec` with another model than the one whose width the tests make small."""
    from lrbench.config.compose import load_config, parse_spec

    return parse_spec(load_config("config", ["data=synthetic", "device=cpu", f"model={model}", *overrides]))


@pytest.mark.parametrize("pixels", [2, 4])
def test_a_convolution_of_small_images_has_torchs_gradients(pixels: int) -> None:
    """In bfloat16, to its rounding; elsewhere it is torch's own."""
    layer, generator = MatrixConv(24, 32), torch.Generator().manual_seed(0)
    x = torch.randn(16, 24, pixels, pixels, generator=generator).to(memory_format=torch.channels_last)
    weights = torch.randn(16, 32, pixels, pixels, generator=generator)
    found = []
    for autocast in (True, False):
        entered = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = layer(entered)
        (out.float() * weights).sum().backward()
        assert layer.weight.grad is not None and entered.grad is not None
        found.append((out.float(), entered.grad, layer.weight.grad))
        layer.weight.grad = None
    for quick, exact in zip(*found, strict=True):
        assert (quick - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_pooling_is_torchs(size: tuple[int, int]) -> None:
    x = torch.randn(3, 5, *size, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    pool = _MaxPool()
    assert torch.equal(pool(x), torch.nn.functional.max_pool2d(x, 2))
    assert torch.equal(pool(x.requires_grad_()).detach(), pool(x.detach()))
