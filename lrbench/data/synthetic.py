"""Coloured gratings with noise, made from a seed: for tests, and for machines without data."""

import numpy as np

from lrbench.data.cifar10 import MEAN, STD
from lrbench.data.dataset import Arrays, ImageSource
from lrbench.spec import DataSpec

CLASSES, SIZE = 10, 32


def source(spec: DataSpec) -> ImageSource:
    """Return the gratings of `spec`, and a tenth of their number as test images."""
    return ImageSource(CLASSES, SIZE, MEAN, STD, test_images=_test_images(spec), load=lambda root, log: gratings(spec))


def gratings(spec: DataSpec) -> Arrays:
    """Return gratings with one direction and one colour per class, a random phase, and noise."""
    generator = np.random.default_rng(spec.seed)
    count = spec.images + _test_images(spec)
    labels = generator.integers(0, CLASSES, count)
    angle = np.pi * labels / CLASSES
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    position = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    phase = generator.random((count, 1, 1))
    wave = np.sin(2 * np.pi * (3 * position + phase))[..., None]
    colour = 0.3 + 0.7 * np.cos(2 * np.pi * (labels[:, None] / CLASSES + np.arange(3) / 3))
    noise = generator.normal(0, 1.0, (count, SIZE, SIZE, 3))
    images = np.clip(128 + 40 * wave * colour[:, None, None, :] + 40 * noise, 0, 255).astype(np.uint8)
    labels = labels.astype(np.uint8)
    cut = spec.images
    return {"x_train": images[:cut], "y_train": labels[:cut], "x_test": images[cut:], "y_test": labels[cut:]}


def _test_images(spec: DataSpec) -> int:
    return max(CLASSES, spec.images // 10)
