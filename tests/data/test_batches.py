import dataclasses

import torch

from lrbench.config.paths import data_root
from lrbench.data.batches import Batches, Normalize
from lrbench.data.cifar10 import MEAN, STD
from lrbench.data.dataset import Split, load_dataset
from tests.conftest import Spec

CPU = torch.device("cpu")


def test_batches_are_whole_and_hold_each_image_once(spec: Spec) -> None:
    data = load_dataset(spec().data, CPU, data_root())
    batches = list(Batches(data, spec().data, 64, torch.Generator().manual_seed(0)).epoch(0))
    assert [images.shape for images, _ in batches] == [(64, 3, 32, 32)] * 10
    assert batches[0][0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.cat([labels for _, labels in batches]).sort().values, data.train.labels.sort().values)


def test_crops_and_flips_are_windows_of_the_padded_image(spec: Spec) -> None:
    settings = spec("data.crop_padding=2", "data.flip=random").data
    image = torch.arange(32 * 32 * 3, dtype=torch.int64).remainder(251).to(torch.uint8).view(1, 32, 32, 3)
    split = Split(image.expand(64, -1, -1, -1).contiguous(), torch.zeros(64, dtype=torch.int64))
    data = dataclasses.replace(load_dataset(settings, CPU, data_root()), train=split)
    (batch, _), *_ = Batches(data, settings, 64, torch.Generator().manual_seed(0)).epoch(0)
    channels_first = image.permute(0, 3, 1, 2).float()
    padded = torch.nn.functional.pad(channels_first, (2, 2, 2, 2), mode="reflect").permute(0, 2, 3, 1)
    windows = [padded[:, y : y + 32, x : x + 32] for y in range(5) for x in range(5)]
    allowed = [Normalize(data, CPU)(window) for window in windows + [window.flip(2) for window in windows]]
    drawn = {
        next(number for number, window in enumerate(allowed) if torch.allclose(window[0], crop, atol=1e-5))
        for crop in batch
    }
    assert len(drawn) > 20


def test_alternating_flip_mirrors_every_other_epoch(spec: Spec) -> None:
    settings = spec("data.flip=alternating").data
    batches = Batches(load_dataset(settings, CPU, data_root()), settings, 64, torch.Generator().manual_seed(0))
    first, second, third = (batches._flips(epoch) for epoch in range(3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 0.4 < first.float().mean() < 0.6


def test_normalize(spec: Spec) -> None:
    data = load_dataset(spec().data, CPU, data_root())
    images = data.train.images
    by_hand = (images.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(Normalize(data, CPU)(images), by_hand, atol=1e-5, rtol=0)


def test_batches_of_another_size(shapes: Spec) -> None:
    settings = shapes("data.crop_padding=3", "data.flip=random").data
    data = load_dataset(settings, CPU, data_root())
    batches = list(Batches(data, settings, 40, torch.Generator().manual_seed(0)).epoch(0))
    assert [images.shape for images, _ in batches] == [(40, 3, 24, 24)] * 3  # of 140 images
    assert Normalize(data, CPU)(data.test.images).shape == (70, 3, 24, 24)


def test_batches_follow_their_generator(spec: Spec) -> None:
    settings = spec("data.crop_padding=2", "data.flip=random").data
    data = load_dataset(settings, CPU, data_root())
    one, again, other = (
        next(Batches(data, settings, 64, torch.Generator().manual_seed(seed)).epoch(0))[0] for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_an_epoch_can_begin_later(spec: Spec) -> None:
    """The draws of an epoch do not depend on its first batch."""
    settings = spec("data.crop_padding=2", "data.flip=random").data
    data = load_dataset(settings, CPU, data_root())
    whole, rest = (list(Batches(data, settings, 64, torch.Generator()).epoch(0, first)) for first in (0, 7))
    assert len(rest) == 3
    assert all(torch.equal(one[0], other[0]) for one, other in zip(whole[7:], rest, strict=True))
