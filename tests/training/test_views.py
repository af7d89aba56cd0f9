import torch
from torch import Tensor

from lrbench.training.views import mean_output


def _left_pixel(images: Tensor) -> Tensor:
    """A network that returns the pixel at the top left."""
    return images[:, :, 0, 0]


def test_the_views_of_an_image() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert float(mean_output(_left_pixel, image, 1)) == 0
    assert float(mean_output(_left_pixel, image, 2)) == (0 + 3) / 2
    expected = (0 + 3) / 2 / 2 + _two(image, -1) / 4 + _two(image, 1) / 4
    assert float(mean_output(_left_pixel, image, 6)) == expected


def _two(image: Tensor, shift: int) -> float:
    """Return the mean of the first pixel of a shifted image and of its mirror image."""
    row = abs(shift)
    columns = [abs(column) if column < 4 else 6 - column for column in range(shift, 4 + shift)]
    return float(image[0, 0, row, columns[0]] + image[0, 0, row, columns[-1]]) / 2
