"""airbench94's network (Jordan 2024, https://arxiv.org/abs/2404.00498) and its layers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.data.batches import Normalize
from lrbench.data.dataset import Dataset
from lrbench.models.arguments import check_argument

SMALL_IMAGE = 16  # pixels: `_SmallConv` is faster up to this size
WHITENING_IMAGES = 5000
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "relu": partial(nn.ReLU, inplace=True),
    "silu": nn.SiLU,
}


def fast(
    data: Dataset,
    *,
    width: float,
    widths: list[int],
    stem_kernel: int,
    stem_stride: int,
    stem_channels: int,
    convolutions: int,
    pool: str,
    activation: str,
    freeze_stem_bias: float = 1.0,
) -> nn.Module:
    """Return airbench94's network.

    A frozen convolution whitens the images. Then come groups of 3 x 3 convolutions that begin as
    identities, each group with one 2 x 2 max-pooling, and a linear classifier. The pooling is
    "after" the first convolution of a group, as in airbench, or "before" it, which makes that
    convolution four times cheaper. After the fraction `freeze_stem_bias` of the run, the bias of
    the whitened images stays as it is. Raises ConfigError if an argument is invalid, and ValueError
    if the images are too small.
    """
    arguments = _Arguments(
        width=width,
        widths=widths,
        stem_kernel=stem_kernel,
        stem_stride=stem_stride,
        stem_channels=stem_channels,
        convolutions=convolutions,
        pool=pool,
        activation=activation,
    )
    _check_arguments(arguments)
    _check_image_size(data.image_size, stem_kernel, stem_stride, len(widths))
    check_argument("freeze_stem_bias", freeze_stem_bias, 0 < freeze_stem_bias <= 1, "above 0 and at most 1")
    net = _Fast(data.classes, arguments)
    net.frozen_after = {"bias": freeze_stem_bias}
    filters = data.derived(
        ("whitening filters", stem_kernel, stem_channels), lambda: _whitening_filters(data, stem_kernel, stem_channels)
    )
    net.whiten.weight.data[:] = filters
    return net


@dataclass(frozen=True)
class _Arguments:
    """The arguments of `fast`."""

    width: float
    widths: list[int]
    stem_kernel: int
    stem_stride: int
    stem_channels: int
    convolutions: int
    pool: str
    activation: str

    def channels(self) -> list[int]:
        """Return the channels of each group: `widths` times `width`, in multiples of 8."""
        return [max(8, round(self.width * channels / 8) * 8) for channels in self.widths]


def _check_arguments(args: _Arguments) -> None:
    """Raise ConfigError for the first argument that is invalid."""
    kernel = args.stem_kernel
    check_argument("width", args.width, 0 < args.width <= 8, "above 0 and at most 8")
    check_argument("stem_kernel", kernel, 2 <= kernel <= 8, "from 2 to 8")
    check_argument("stem_stride", args.stem_stride, 1 <= args.stem_stride <= 2, "1 or 2")
    most = 2 * 3 * kernel**2  # each filter and its negative, for patches of 3 channels
    even = args.stem_channels % 2 == 0 and 2 <= args.stem_channels <= most
    rule = f"an even number from 2 to {most} for stem_kernel={kernel}"
    check_argument("stem_channels", args.stem_channels, even, rule)
    check_argument("convolutions", args.convolutions, 1 <= args.convolutions <= 4, "from 1 to 4")
    check_argument("activation", args.activation, args.activation in ACTIVATIONS, f"one of {', '.join(ACTIVATIONS)}")
    check_argument("pool", args.pool, args.pool in ("before", "after"), "before or after")
    few = 1 <= len(args.widths) <= 3 and min(args.widths) > 0
    check_argument("widths", args.widths, few, "a list of one to three whole numbers above 0")


def _check_image_size(size: int, kernel: int, stride: int, poolings: int) -> None:
    """Raise ValueError if less than one pixel is left after the stem and the poolings."""
    smallest = max(kernel, stride * (2**poolings - 1) + kernel - 2 * _stem_padding(kernel, stride))
    if size < smallest:
        raise ValueError(
            f"must have images of at least {smallest} x {smallest} pixels, because {poolings} poolings halve them; "
            f"got {size} x {size}. Use fewer model.args.widths, or another model."
        )


def _stem_padding(kernel: int, stride: int) -> int:
    return (kernel - stride) // 2 if stride > 1 else 0


class MatrixConv(nn.Module):
    """A 3 x 3 convolution with its filters as the rows of a matrix, because Muon needs matrices."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        filters = nn.Conv2d(channels_in, channels_out, 3, bias=False).weight.data
        nn.init.dirac_(filters[:channels_in])
        self.weight = nn.Parameter(filters.permute(0, 2, 3, 1).reshape(channels_out, -1).contiguous())
        self.channels_in = channels_in

    def forward(self, x: Tensor) -> Tensor:
        filters = self.weight.view(-1, 3, 3, self.channels_in).permute(0, 3, 1, 2)  # in channels_last
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and x.shape[2] * x.shape[3] <= SMALL_IMAGE:
            return _SmallConv.apply(x.bfloat16(), filters.bfloat16())  # type: ignore[no-any-return]
        return F.conv2d(x, filters, padding=1)


class _SmallConv(torch.autograd.Function):
    """A 3 x 3 convolution of small images. Its gradient for the filters is a product of matrices.

    In bfloat16, oneDNN's gradient takes four to seven times as long (2 x 2 and 4 x 4 pixels, 96
    channels, batches of 64).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor) -> Tensor:
        ctx.save_for_backward(x, filters)
        return F.conv2d(x, filters, padding=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, filters = ctx.saved_tensors
        for_x = (True, False, False)
        x_grad = torch.ops.aten.convolution_backward(
            grad, x, filters, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, for_x
        )[0]
        count, channels, height, width = x.shape
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        image, row, pixel, _ = padded.stride()
        windows = padded.as_strided((count, height, width, 3, 3 * channels), (image, row, pixel, row, 1))
        flat = grad.permute(0, 2, 3, 1).reshape(-1, len(filters))
        filters_grad = flat.T @ windows.reshape(len(flat), -1)
        return x_grad, filters_grad.view(-1, 3, 3, channels).permute(0, 3, 1, 2)


class _MaxPool(nn.Module):
    """2 x 2 max-pooling.

    On a CPU and without a gradient, it compares whole rows and columns, which takes half the time.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad or x.device.type != "cpu":
            return F.max_pool2d(x, 2)
        height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        rows = torch.maximum(x[:, :, 0:height:2, :width], x[:, :, 1:height:2, :width])
        return torch.maximum(rows[..., 0::2], rows[..., 1::2])


class _Fast(nn.Module):
    """The whitening stem, the groups of convolutions and the classifier of `fast`."""

    def __init__(self, classes: int, args: _Arguments) -> None:
        super().__init__()
        kernel, stride = args.stem_kernel, args.stem_stride
        padding = _stem_padding(kernel, stride)
        self.whiten = nn.Conv2d(3, args.stem_channels, kernel, stride=stride, padding=padding, bias=False)
        self.whiten.weight.requires_grad = False
        # Not the convolution's own bias: to train that one, torch's CPU backward would also go
        # through the frozen filters.
        self.bias = nn.Parameter(torch.zeros(args.stem_channels, 1, 1))
        self.stem = _MaxPool() if args.pool == "before" else nn.Identity()
        self.groups = nn.Sequential(*_layers(args))
        self.head = nn.Linear(args.channels()[-1], classes, bias=False)
        self.head.weight.data /= self.head.weight.data.std()
        self.frozen_after: dict[str, float] = {}

    def forward(self, x: Tensor) -> Tensor:
        features = _global_max(self.groups(self.stem(self.whiten(x)) + self.bias))
        logits: Tensor = self.head(features)
        return logits / 9


def _global_max(x: Tensor) -> Tensor:
    """Return the maximum of each channel: from (N, channels, height, width) to (N, channels).

    On an eager CPU it is `amax`, whose gradient is shared by equal maxima. Committed results have
    these bits. Elsewhere the maximum is pooled with its index: the gradient of `amax` compares x
    with its maximum, and a compiler may round x differently there. The mask is then empty, and the
    gradient is 0 / 0 (https://github.com/pytorch/pytorch/issues/195214).
    """
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        return x.amax((2, 3))
    return F.max_pool2d(x, x.shape[2:]).flatten(1)


def _layers(args: _Arguments) -> Iterator[nn.Module]:
    """Yield the first activation, then the layers of all groups."""
    activation, early = ACTIVATIONS[args.activation], args.pool == "before"
    yield activation()
    channels = args.stem_channels
    for group, out in enumerate(args.channels(), 1):
        for number in range(1, args.convolutions + 1):
            yield MatrixConv(channels, out)
            if not early and number == 1:
                yield _MaxPool()
            yield _norm(out)
            if early and number == args.convolutions and group < len(args.widths):
                yield _MaxPool()  # before the activation, which then has a quarter of the work
            yield activation()
            channels = out


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad = False
    return norm


def _whitening_filters(data: Dataset, kernel: int, channels: int) -> Tensor:
    """Return filters (channels, 3, kernel, kernel) that whiten patches of the training images.

    Half of them are the negatives of the others.
    """
    images = data.train.images[:WHITENING_IMAGES].cpu()
    normalised = Normalize(data, torch.device("cpu"))(images)
    patches = F.unfold(normalised, kernel, stride=3).transpose(1, 2).reshape(-1, 3 * kernel**2)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / torch.sqrt(values + 1e-3)).T.flip(0).reshape(-1, 3, kernel, kernel)[: channels // 2]
    return torch.cat([filters, -filters])
