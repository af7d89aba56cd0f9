"""The candidates of the GPU benchmark compute the function of the network, and its gradients."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scripts.benchmarks.candidates import CANDIDATES, PointwisePool
from tests.models.networks import network


def _steps(net: nn.Module, images: Tensor, labels: Tensor) -> list[float]:
    """Return the losses of a few steps with momentum."""
    optimizer = torch.optim.SGD((weight for weight in net.parameters() if weight.requires_grad), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("change", CANDIDATES.values(), ids=CANDIDATES)
def test_the_same_training(change: Callable[[nn.Module], nn.Module]) -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(32, 3, 32, 32, generator=generator), torch.arange(32) % 10
    plain, changed = network("fast", "model.args.width=0.125"), network("fast", "model.args.width=0.125")
    changed = change(changed)
    assert _steps(changed, images, labels) == pytest.approx(_steps(plain, images, labels), rel=1e-3)
    if "whiten.weight" in dict(changed.named_parameters()) and changed.get_parameter("bias").shape[0] == 32:
        assert not changed.get_parameter("bias")[24:].any()


@pytest.mark.parametrize("size", [8, 9])
def test_the_gradient_of_the_pooling(size: int) -> None:
    x = torch.randn(2, 3, size, size, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(PointwisePool()(x), F.max_pool2d(x, 2))
    upstream = torch.randn(2, 3, size // 2, size // 2, dtype=torch.float64)
    (expected,) = torch.autograd.grad(F.max_pool2d(x, 2), x, upstream)
    (gradient,) = torch.autograd.grad(PointwisePool()(x), x, upstream)
    torch.testing.assert_close(gradient, expected)
