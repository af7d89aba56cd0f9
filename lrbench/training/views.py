"""Test-time augmentation: the mean output of a network over several views of an image."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Network = Callable[[Tensor], Tensor]


def mean_output(net: Network, images: Tensor, views: int) -> Tensor:
    """Return the mean output over the views of images (N, 3, size, size).

    Two views are the image and its mirror image. Six views are those two, with half of the weight,
    and both shifted by a pixel up and left or down and right, as in airbench94
    (https://arxiv.org/abs/2404.00498). A reflected border fills the rest of a shifted view.
    """
    if views == 1:
        return net(images)
    if views == 2:
        return (net(images) + net(images.flip(3))) / 2
    padded = F.pad(images, (1, 1, 1, 1), "reflect")
    shifted = [mean_output(net, part, 2) for part in (padded[..., :-2, :-2], padded[..., 2:, 2:])]
    return mean_output(net, images, 2) / 2 + (shifted[0] + shifted[1]) / 4
