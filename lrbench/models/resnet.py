"""ResNet-20 and ResNet-18 (He et al. 2015, https://arxiv.org/abs/1512.03385) for small images."""

import itertools

import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.data.dataset import Dataset
from lrbench.models.arguments import check_argument


def resnet20(data: Dataset, *, width: int) -> nn.Module:
    """Return the ResNet-20 of section 4.2 of the paper: type A shortcuts, Kaiming initialisation.

    Raises ConfigError if the width is invalid.
    """
    check_argument("width", width, 1 <= width <= 512, "from 1 to 512")
    return _ResNet20(width, data.classes)


def resnet18(data: Dataset) -> nn.Module:
    """Return torchvision's ResNet-18 with a 3 x 3 stem of stride 1, without the first pooling."""
    from torchvision.models import resnet18 as torchvision_resnet18

    net: nn.Module = torchvision_resnet18(num_classes=data.classes)
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net


class _ResNet20(nn.Module):
    """A stem, three stages of three blocks, and a linear classifier."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        widths = [width] * 3 + [2 * width] * 3 + [4 * width] * 3
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.blocks = nn.Sequential(*(_Block(*channels) for channels in itertools.pairwise([width, *widths])))
        self.head = nn.Linear(4 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.blocks(self.stem(x)).mean((2, 3))
        return self.head(features)  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Two convolutions and a shortcut around them.

    If the width doubles, the shortcut halves the images and pads the channels with zeros.
    """

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
