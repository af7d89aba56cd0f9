"""Changes of airbench94's network that may make it faster on a GPU, and compute the same function.

`scripts/bench gpu` measures them. A change that helps moves into `lrbench.models.airbench`.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.models import airbench

PADDED_STEM = 32  # channels: the tensor cores take multiples of 16 or 32


class _Pool(torch.autograd.Function):
    """2 x 2 max-pooling whose gradient is pointwise: which of the four pixels was the largest.

    The gradient of torch's pooling on a GPU reads the input's size for each pixel, and takes seven
    times as long as its bytes need.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        pixels = [x[:, :, row:height:2, column:width:2] for row in (0, 1) for column in (0, 1)]
        top, bottom = torch.maximum(pixels[0], pixels[1]), torch.maximum(pixels[2], pixels[3])
        in_bottom, right_of_top, right_of_bottom = bottom > top, pixels[1] > pixels[0], pixels[3] > pixels[2]
        place = torch.where(in_bottom, 2 + right_of_bottom.to(torch.uint8), right_of_top.to(torch.uint8))
        ctx.save_for_backward(place)
        ctx.size = x.shape[2:]
        return torch.maximum(top, bottom)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (place,) = ctx.saved_tensors
        parts = [torch.where(place == number, grad, 0).permute(0, 2, 3, 1) for number in range(4)]
        rows = [torch.stack(parts[first : first + 2], dim=3) for first in (0, 2)]  # (N, h, w, 2, channels)
        count, height, width, channels = parts[0].shape
        whole = torch.stack(rows, dim=2).reshape(count, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
        return F.pad(whole, (0, ctx.size[1] - 2 * width, 0, ctx.size[0] - 2 * height))


class PointwisePool(nn.Module):
    """2 x 2 max-pooling with a pointwise gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return _Pool.apply(x)  # type: ignore[no-any-return]


def with_pointwise_pooling(net: nn.Module) -> nn.Module:
    """Return the network with another gradient of its 2 x 2 poolings."""
    for parent in list(net.modules()):
        for name, module in parent.named_children():
            if isinstance(module, airbench._MaxPool):
                setattr(parent, name, PointwisePool())
    return net


def with_padded_stem(net: nn.Module) -> nn.Module:
    """Return the network with more channels of its stem, which are zero and stay zero.

    The filters of the stem are frozen. The gradient of a zero channel is zero as long as its bias
    is, because GELU is 0 at 0 and the first convolution's filters for it are zero.
    """
    stem, bias = net.get_submodule("whiten"), net.get_parameter("bias")
    first = next(module for module in net.modules() if isinstance(module, airbench.MatrixConv))
    assert isinstance(stem, nn.Conv2d)
    extra = PADDED_STEM - stem.out_channels
    if extra <= 0:
        return net
    stem.out_channels = PADDED_STEM
    stem.weight = nn.Parameter(F.pad(stem.weight.data, (0, 0, 0, 0, 0, 0, 0, extra)), requires_grad=False)
    net.bias = nn.Parameter(F.pad(bias.data, (0, 0, 0, 0, 0, extra)))
    filters = first.weight.data.view(-1, 3, 3, first.channels_in)
    first.weight = nn.Parameter(F.pad(filters, (0, extra)).reshape(len(filters), -1))
    first.channels_in = PADDED_STEM
    return net


CANDIDATES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "pointwise pooling": with_pointwise_pooling,
    "padded stem": with_padded_stem,
    "both": lambda net: with_padded_stem(with_pointwise_pooling(net)),
}
