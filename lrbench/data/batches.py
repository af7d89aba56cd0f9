"""Batches of a data set, augmented and normalised on the device."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lrbench.data.dataset import Dataset
from lrbench.spec import DataSpec


class Normalize:
    """Turns uint8 images (N, size, size, 3) into float32 (N, 3, size, size) in channels_last.

    Each channel gets mean 0 and standard deviation 1.
    """

    def __init__(self, data: Dataset, device: torch.device) -> None:
        mean, std = torch.tensor(data.mean, device=device), torch.tensor(data.std, device=device)
        self.size = data.image_size
        # One factor per value of a row of pixels: on a CPU, three times as fast as one per channel.
        self.scale, self.shift = (1 / (255 * std)).repeat(self.size), (-mean / std).repeat(self.size)

    def __call__(self, images: Tensor) -> Tensor:
        rows = images.reshape(len(images), self.size, 3 * self.size).float()
        return torch.addcmul(self.shift, rows, self.scale).view(-1, self.size, self.size, 3).permute(0, 3, 1, 2)


class Crops:
    """Cuts, mirrors and normalises training images on their device."""

    def __init__(self, data: Dataset, padding: int) -> None:
        self.normalize = Normalize(data, data.train.images.device)
        padded = data.derived(("padded", padding), lambda: _with_reflected_border(data.train.images, padding))
        self.size, self.padded_size, self.pixels = data.image_size, padded.shape[1], padded.reshape(-1, 3)

    def __call__(self, chosen: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
        """Return a window of `size` x `size` pixels of each chosen padded image, normalised.

        `chosen` and `flips` have shape (N,), `shifts` has (2, N): rows and columns. The result is
        float32 (N, 3, size, size) in channels_last. A window is mirrored if its flag in `flips` is
        set. One look-up of whole pixels is three times as fast on a CPU as indexing images, rows
        and columns.
        """
        return self.normalized(self.pixels.index_select(0, self.places(chosen, shifts, flips)))

    def normalized(self, pixels: Tensor) -> Tensor:
        """Return the images of looked-up pixels (N * size * size, 3)."""
        return self.normalize(pixels.view(-1, self.size, self.size, 3))

    def places(self, chosen: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
        """Return the numbers of the pixels (N * size * size,) of the windows."""
        window = torch.arange(self.size, device=chosen.device)
        rows = shifts[0, :, None] + window
        columns = shifts[1, :, None] + torch.where(flips[:, None], self.size - 1 - window, window)
        pixels = (chosen[:, None, None] * self.padded_size + rows[:, :, None]) * self.padded_size + columns[:, None, :]
        return pixels.view(-1)


@dataclass(frozen=True)
class EpochDraws:
    """The random draws of an epoch.

    `order` (images,) has the number of each image in the order of the epoch. `shifts` (2, images)
    and `flips` (images,) belong to the images in the order of the data set.
    """

    order: Tensor
    shifts: Tensor
    flips: Tensor

    def to(self, device: torch.device) -> "EpochDraws":
        """Return the draws on a device."""
        return EpochDraws(self.order.to(device), self.shifts.to(device), self.flips.to(device))

    def in_batches(self, batch_size: int) -> "EpochDraws":
        """Return the draws by step.

        `order` and `flips` get the shape (steps, batch_size), `shifts` (steps, 2, batch_size).
        """
        order = self.order[: len(self.order) // batch_size * batch_size].view(-1, batch_size)
        return EpochDraws(order, self.shifts[:, order].transpose(0, 1).contiguous(), self.flips[order])


class Batches:
    """The training batches of a run, augmented on the device.

    They depend only on the seed, not on the network.
    """

    def __init__(self, data: Dataset, spec: DataSpec, batch_size: int, generator: torch.Generator) -> None:
        self.split, self.spec, self.batch_size, self.generator = data.train, spec, batch_size, generator
        self.crops = Crops(data, spec.crop_padding)
        self.mirrored = self._coins() if spec.flip == "alternating" else None

    def draw(self, number: int) -> EpochDraws:
        """Return the draws of an epoch, on the CPU."""
        count = len(self.split)
        order = torch.randperm(count, generator=self.generator)
        shifts = torch.randint(0, 2 * self.spec.crop_padding + 1, (2, count), generator=self.generator)
        return EpochDraws(order, shifts, self._flips(number))

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch from number `first` on.

        An incomplete last batch is dropped. A batch is normalised images (batch_size, 3, size,
        size) and labels (batch_size,).
        """
        # Draw everything before the first transfer. A transfer waits until the GPU has emptied its
        # queue.
        draws = self.draw(number).to(self.split.images.device)
        for start in range(first * self.batch_size, len(self.split) - self.batch_size + 1, self.batch_size):
            chosen = draws.order[start : start + self.batch_size]
            yield self.crops(chosen, draws.shifts[:, chosen], draws.flips[chosen]), self.split.labels[chosen]

    def _coins(self) -> Tensor:
        """Return a random True or False for each image."""
        return torch.rand(len(self.split), generator=self.generator) < 0.5

    def _flips(self, number: int) -> Tensor:
        """Return which images are mirrored in an epoch."""
        if self.mirrored is not None:
            return self.mirrored ^ bool(number % 2)
        return self._coins() if self.spec.flip == "random" else torch.zeros(len(self.split), dtype=torch.bool)


def _with_reflected_border(images: Tensor, pad: int) -> Tensor:
    """Return images (N, size, size, 3) with a reflected border of `pad` pixels."""
    if not pad:
        return images
    size = images.shape[1]
    index = torch.arange(-pad, size + pad, device=images.device).abs()
    index = torch.where(index >= size, 2 * (size - 1) - index, index)
    return images[:, index][:, :, index].contiguous()
