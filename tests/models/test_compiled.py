"""Every network computes the same under torch.compile, in its forward and its backward pass."""

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.networks import network

STEPS, RATE = 3, 0.05
CLOSE = 0.05  # relative difference of the losses; bfloat16 has 8 bits
MODELS = {
    "fast": ["model.args.width=0.125"],
    "fast_quarter": ["model.args.width=0.125"],
    "resnet20": ["model.args.width=4"],
}


def _train(net: nn.Module, images: Tensor, labels: Tensor) -> list[float]:
    """Return the losses of a few steps of gradient descent in bfloat16."""
    optimizer = torch.optim.SGD((weight for weight in net.parameters() if weight.requires_grad), lr=RATE)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(net(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="this machine has no C++ compiler")
@pytest.mark.parametrize("model", MODELS)
def test_a_compiled_network_learns_like_an_eager_one(model: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 3, 32, 32, generator=generator).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (64,), generator=generator)
    eager = network(model, *MODELS[model]).to(memory_format=torch.channels_last)
    compiled = network(model, *MODELS[model]).to(memory_format=torch.channels_last)
    compiled.compile()
    losses = _train(compiled, images, labels)
    assert all(weight.isfinite().all() for weight in compiled.parameters())
    assert losses == pytest.approx(_train(eager, images, labels), rel=CLOSE)
