"""The networks. Each is a function of the training images and the config's arguments that returns a module, freshly initialised."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.data import CLASSES, Dataset, Normalize

SMALL_IMAGE = 16  # pixels, up to which `_SmallConv` pays
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"gelu": nn.GELU, "relu": partial(nn.ReLU, inplace=True), "silu": nn.SiLU}


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
) -> nn.Module:
    """Return airbench94's network (Jordan 2024, https://arxiv.org/abs/2404.00498): a frozen whitening convolution, then
    groups of 3 x 3 convolutions that begin as identities, each with one 2 x 2 max-pooling, and a linear classifier.

    `pool` is airbench's "after" the first convolution of a group, or "before" it, which makes that convolution four times cheaper.
    """
    _check(0 < width <= 8, f"model.args.width={width}: above 0, up to 8")
    _check(2 <= stem_kernel <= 8, f"model.args.stem_kernel={stem_kernel}: 2 to 8")
    _check(1 <= stem_stride <= 2, f"model.args.stem_stride={stem_stride}: 1 or 2")
    most = 2 * 3 * stem_kernel**2
    _check(
        stem_channels % 2 == 0 and 2 <= stem_channels <= most,
        f"model.args.stem_channels={stem_channels}: an even number up to {most} for stem_kernel={stem_kernel}",
    )
    _check(1 <= convolutions <= 4, f"model.args.convolutions={convolutions}: 1 to 4")
    _check(activation in ACTIVATIONS, f"model.args.activation={activation}: {', '.join(ACTIVATIONS)}")
    _check(pool in ("before", "after"), f"model.args.pool={pool}: before, after")
    _check(1 <= len(widths) <= 3 and min(widths) > 0, f"model.args.widths={widths}: up to three numbers above 0")
    scaled = [max(8, round(width * channels / 8) * 8) for channels in widths]
    net = _Fast(scaled, stem_kernel, stem_stride, stem_channels, convolutions, pool, ACTIVATIONS[activation])
    net.whiten.weight.data[:] = _whitening_filters(data, stem_kernel, stem_channels)
    return net


def resnet20(data: Dataset, *, width: int) -> nn.Module:
    """Return the ResNet-20 of He et al. 2015 (https://arxiv.org/abs/1512.03385, section 4.2), shortcuts of type A, Kaiming init."""
    _check(1 <= width <= 512, f"model.args.width={width}: 1 to 512")
    return _ResNet20(width)


def resnet18(data: Dataset) -> nn.Module:
    """Return torchvision's ResNet-18 with a 3 x 3 stem of stride 1 and without the first pooling."""
    from torchvision.models import resnet18 as torchvision_resnet18

    net: nn.Module = torchvision_resnet18(num_classes=CLASSES)
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net


def _check(fine: bool, message: str) -> None:
    if not fine:
        raise ValueError(message)


class MatrixConv(nn.Module):
    """A 3 x 3 convolution whose filters are the rows of a matrix: torch's Muon takes matrices only."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        filters = nn.Conv2d(channels_in, channels_out, 3, bias=False).weight.data
        nn.init.dirac_(filters[:channels_in])
        self.weight = nn.Parameter(filters.permute(0, 2, 3, 1).reshape(channels_out, -1).contiguous())
        self.channels_in = channels_in

    def forward(self, x: Tensor) -> Tensor:
        filters = self.weight.view(-1, 3, 3, self.channels_in).permute(0, 3, 1, 2)  # channels_last as it lies
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and x.shape[2] * x.shape[3] <= SMALL_IMAGE:
            return _SmallConv.apply(x.bfloat16(), filters.bfloat16())  # type: ignore[no-any-return]
        return F.conv2d(x, filters, padding=1)


class _SmallConv(torch.autograd.Function):
    """A 3 x 3 convolution of small images whose gradient for the filters is a product of matrices.

    In bfloat16, oneDNN's own takes four to seven times as long (2 x 2 and 4 x 4 pixels, 96 channels, batches of 64).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor) -> Tensor:
        ctx.save_for_backward(x, filters)
        return F.conv2d(x, filters, padding=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, filters = ctx.saved_tensors
        for_x = (True, False, False)
        x_grad = torch.ops.aten.convolution_backward(grad, x, filters, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, for_x)[0]
        count, channels, height, width = x.shape
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        image, row, pixel, _ = padded.stride()
        windows = padded.as_strided((count, height, width, 3, 3 * channels), (image, row, pixel, row, 1))
        flat = grad.permute(0, 2, 3, 1).reshape(-1, len(filters))
        filters_grad = flat.T @ windows.reshape(len(flat), -1)
        return x_grad, filters_grad.view(-1, 3, 3, channels).permute(0, 3, 1, 2)


class _MaxPool(nn.Module):
    """2 x 2 max-pooling; where nobody asks for its gradient on a CPU, by comparing whole rows and columns, in half the time."""

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad or x.device.type != "cpu":
            return F.max_pool2d(x, 2)
        height, width = x.shape[2] // 2 * 2, x.shape[3] // 2 * 2
        rows = torch.maximum(x[:, :, 0:height:2, :width], x[:, :, 1:height:2, :width])
        return torch.maximum(rows[..., 0::2], rows[..., 1::2])


class _Fast(nn.Module):
    def __init__(
        self,
        widths: list[int],
        kernel: int,
        stride: int,
        stem_channels: int,
        convolutions: int,
        pool: str,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        padding = (kernel - stride) // 2 if stride > 1 else 0
        self.whiten = nn.Conv2d(3, stem_channels, kernel, stride=stride, padding=padding, bias=False)
        self.whiten.weight.requires_grad = False
        # Beside the convolution: with its own bias to train, torch's CPU backward would go through its frozen filters too.
        self.bias = nn.Parameter(torch.zeros(stem_channels, 1, 1))
        early = pool == "before"
        self.stem = _MaxPool() if early else nn.Identity()
        layers: list[nn.Module] = [activation()]
        channels = stem_channels
        for group, out in enumerate(widths, 1):
            for number in range(1, convolutions + 1):
                layers.append(MatrixConv(channels, out))
                if not early and number == 1:
                    layers.append(_MaxPool())
                layers.append(_norm(out))
                if early and number == convolutions and group < len(widths):
                    layers.append(_MaxPool())  # before the activation, which has a quarter of the work then
                layers.append(activation())
                channels = out
        self.groups = nn.Sequential(*layers)
        self.head = nn.Linear(channels, CLASSES, bias=False)
        self.head.weight.data /= self.head.weight.data.std()

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.groups(self.stem(self.whiten(x)) + self.bias).amax((2, 3))
        logits: Tensor = self.head(features)
        return logits / 9


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, momentum=0.4)
    norm.weight.requires_grad = False
    return norm


@lru_cache(maxsize=4)
def _whitening_filters(data: Dataset, kernel: int, channels: int) -> Tensor:
    """Return filters (channels, 3, kernel, kernel) that whiten the patches of 5,000 training images, and their negatives."""
    images = data.train.images[:5000].cpu()
    patches = F.unfold(Normalize(torch.device("cpu"))(images), kernel, stride=3).transpose(1, 2).reshape(-1, 3 * kernel**2)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / torch.sqrt(values + 1e-3)).T.flip(0).reshape(-1, 3, kernel, kernel)[: channels // 2]
    return torch.cat([filters, -filters])


class _ResNet20(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width] * 3 + [2 * width] * 3 + [4 * width] * 3
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(*(_Block(a, b) for a, b in zip([width, *widths], widths, strict=False)))
        self.head = nn.Linear(4 * width, CLASSES)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.blocks(self.stem(x)).mean((2, 3))
        return self.head(features)  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Two convolutions beside a shortcut; where the width doubles, the shortcut halves the picture and pads with zeros."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.stride, self.extra = (2, channels_out - channels_in) if channels_out > channels_in else (1, 0)
        self.branch = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, stride=self.stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.extra:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return F.relu(self.branch(x) + shortcut)
