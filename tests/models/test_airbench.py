import pytest
import torch

from lrbench.data.batches import Normalize
from lrbench.models.airbench import MatrixConv, _MaxPool
from lrbench.spec import ConfigError
from lrbench.training.trainer import build_network
from tests.models.networks import CPU, dataset, model_spec, network, network_for


def test_size() -> None:
    """airbench94: a frozen stem of 288, a bias of 24, convolutions, biases of norms, and a head."""
    weights = list(network("fast").parameters())
    assert sum(weight.numel() for weight in weights) == pytest.approx(1_974_424, rel=2e-3)
    frozen = [weight.numel() for weight in weights if not weight.requires_grad]
    assert frozen[0] == 288


@pytest.mark.parametrize("model", ["fast", "fast_quarter"])
def test_logits(model: str) -> None:
    assert network(model)(torch.randn(4, 3, 32, 32)).shape == (4, 10)
    assert network_for(model, image_size=24, classes=7)(torch.randn(4, 3, 24, 24)).shape == (4, 7)


def test_weights_follow_the_seed() -> None:
    one, again, other = (network("fast", f"seed={seed}").state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_building_a_network_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    network("fast")
    assert torch.equal(before, torch.get_rng_state())


def test_the_stem_whitens_patches() -> None:
    spec = model_spec("fast")
    data = dataset(spec)
    whiten = build_network(spec, data).get_submodule("whiten")
    outputs = whiten(Normalize(data, CPU)(data.train.images)).permute(0, 2, 3, 1).reshape(-1, 24)[:, :12].detach()
    covariance = outputs.T @ outputs / len(outputs)
    torch.testing.assert_close(covariance, torch.eye(12), atol=0.15, rtol=0)


@pytest.mark.parametrize("pool", ["before", "after"])
def test_convolutions_begin_as_identities(pool: str) -> None:
    net = network("fast", f"model.args.pool={pool}")
    first = next(module for module in net.modules() if isinstance(module, MatrixConv))
    x = torch.randn(2, 24, 8, 8)
    torch.testing.assert_close(first(x)[:, :24], x)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("width=9", "model.args.width=9: must be above 0 and at most 8"),
        ("width=0", "model.args.width=0: must be above 0 and at most 8"),
        ("widths=[]", "model.args.widths=[]: must be a list of one to three whole numbers above 0"),
        ("widths=[8,8,8,8]", "model.args.widths=[8, 8, 8, 8]: must be a list of one to three whole numbers above 0"),
        ("widths=[8,0]", "model.args.widths=[8, 0]: must be a list of one to three whole numbers above 0"),
        ("stem_kernel=9", "model.args.stem_kernel=9: must be from 2 to 8"),
        ("stem_stride=3", "model.args.stem_stride=3: must be 1 or 2"),
        ("stem_channels=7", "model.args.stem_channels=7: must be an even number from 2 to 24 for stem_kernel=2"),
        ("stem_channels=26", "model.args.stem_channels=26: must be an even number from 2 to 24 for stem_kernel=2"),
        ("convolutions=5", "model.args.convolutions=5: must be from 1 to 4"),
        ("activation=step", "model.args.activation=step: must be one of gelu, relu, silu"),
        ("pool=never", "model.args.pool=never: must be before or after"),
    ],
)
def test_invalid_arguments(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        network("fast", f"model.args.{override}")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("model", "overrides", "smallest"),
    [
        ("fast", [], 9),  # 8 pixels after the stem, for three poolings
        ("fast", ["model.args.widths=[16,16]"], 5),
        ("fast", ["model.args.pool=before"], 9),
        ("fast", ["model.args.widths=[16]", "model.args.stem_kernel=8"], 9),
        ("fast_quarter", [], 16),
        ("fast_quarter", ["model.args.pool=after"], 16),
        ("fast_quarter", ["model.args.widths=[16]"], 4),
    ],
)
def test_images_that_are_too_small(model: str, overrides: list[str], smallest: int) -> None:
    """A network for the smallest size has outputs. One pixel less is refused."""
    small = ["model.args.width=0.1", *overrides]
    outputs = network_for(model, *small, image_size=smallest)(torch.randn(4, 3, smallest, smallest))
    assert outputs.shape == (4, 10)
    with pytest.raises(ConfigError) as raised:
        network_for(model, *small, image_size=smallest - 1)
    start = f"model={model}: must have images of at least {smallest} x {smallest} pixels"
    assert str(raised.value).startswith(start)
    assert f"got {smallest - 1} x {smallest - 1}. Use fewer model.args.widths" in str(raised.value)


@pytest.mark.parametrize("pixels", [2, 4])
def test_a_convolution_of_small_images_has_torchs_gradients(pixels: int) -> None:
    """In bfloat16, they are equal but for rounding. In float32, the layer is torch's own."""
    layer, generator = MatrixConv(24, 32), torch.Generator().manual_seed(0)
    x = torch.randn(16, 24, pixels, pixels, generator=generator).to(memory_format=torch.channels_last)
    weights = torch.randn(16, 32, pixels, pixels, generator=generator)
    results = []
    for autocast in (True, False):
        inputs = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = layer(inputs)
        (out.float() * weights).sum().backward()
        assert layer.weight.grad is not None and inputs.grad is not None
        results.append((out.float(), inputs.grad, layer.weight.grad))
        layer.weight.grad = None
    for quick, exact in zip(*results, strict=True):
        assert (quick - exact).norm() < 0.01 * exact.norm()


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_pooling_is_torchs(size: tuple[int, int]) -> None:
    x = torch.randn(3, 5, *size, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    pool = _MaxPool()
    assert torch.equal(pool(x), torch.nn.functional.max_pool2d(x, 2))
    assert torch.equal(pool(x.requires_grad_()).detach(), pool(x.detach()))
