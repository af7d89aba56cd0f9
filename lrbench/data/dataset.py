"""Data sets: a source of images, and the images as tensors on the device of a run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lrbench.config.targets import locate
from lrbench.spec import ConfigError, DataSpec
from lrbench.text import Log

Arrays = dict[str, np.ndarray]  # x_train, y_train, x_test, y_test: uint8 images (N, size, size, 3), whole labels (N,)


@dataclass(frozen=True)
class ImageSource:
    """A data set before it is loaded. The function that `_target_` names in conf/data returns one.

    `load(root, log)` returns the arrays. If files are missing in the folder `root`, it fetches them
    first. `mean` and `std` describe the channels, for pixels from 0 to 1.
    """

    classes: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    test_images: int
    load: Callable[[Path, Log], Arrays]


@dataclass(frozen=True, eq=False)
class Split:
    """Images (N, size, size, 3) uint8 and labels (N,) int64 on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """The parts of a data set that a run may use. `holdout` may be empty."""

    train: Split
    holdout: Split
    test: Split
    classes: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    _derived: dict[object, Tensor] = field(default_factory=dict, init=False, repr=False)

    def derived(self, key: object, compute: Callable[[], Tensor]) -> Tensor:
        """Return a tensor that is computed from the images once, and lives as long as they do.

        All runs of a sweep need the same tensors: padded images, whitening filters.
        """
        if key not in self._derived:
            self._derived[key] = compute()
        return self._derived[key]


def image_source(spec: DataSpec) -> ImageSource:
    """Return the source of a data set.

    Raises ConfigError if `_target_` or its arguments are invalid.
    """
    try:
        source = locate(spec.target)(spec, **spec.args)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"data={spec.name}: {error}") from error
    if not isinstance(source, ImageSource):
        raise ConfigError(f"data._target_={spec.target}: must return an ImageSource; got {type(source).__name__}")
    return source


def load_dataset(spec: DataSpec, device: torch.device, root: Path, log: Log = print) -> Dataset:
    """Return the data set of `spec` on `device`. Its files are kept in the folder `root`.

    Raises ConfigError if the files are not available, or if the arrays do not fit `spec` or the
    source.
    """
    source = image_source(spec)
    arrays = _load_arrays(spec, source, root, log)

    def split(part: str, start: int, stop: int | None) -> Split:
        images, labels = arrays[f"x_{part}"][start:stop], arrays[f"y_{part}"][start:stop]
        return Split(torch.from_numpy(images.copy()).to(device), torch.from_numpy(labels.astype(np.int64)).to(device))

    return Dataset(
        train=split("train", 0, spec.train_images),
        holdout=split("train", spec.images - spec.holdout_images, spec.images),
        test=split("test", 0, None),
        classes=source.classes,
        image_size=source.image_size,
        mean=source.mean,
        std=source.std,
    )


def blank_dataset(spec: DataSpec, images: int, device: torch.device) -> Dataset:
    """Return black images of the size of `spec`, to build or time a network without any file."""
    source = image_source(spec)
    pixels = torch.zeros(images, source.image_size, source.image_size, 3, dtype=torch.uint8, device=device)
    split = Split(pixels, torch.zeros(images, dtype=torch.int64, device=device))
    return Dataset(split, split, split, source.classes, source.image_size, source.mean, source.std)


def _load_arrays(spec: DataSpec, source: ImageSource, root: Path, log: Log) -> Arrays:
    if spec.crop_padding >= source.image_size:
        pixels = f"the {source.image_size} pixels of an image"
        raise ConfigError(f"data.crop_padding={spec.crop_padding}: must be less than {pixels}")
    try:
        arrays = source.load(root, log)
        _check_part(arrays, "train", source)
        _check_part(arrays, "test", source)
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(f"data={spec.name}: {error}") from error
    available, test_images = len(arrays["x_train"]), len(arrays["x_test"])
    if available < spec.images:
        raise ConfigError(f"data.images={spec.images}: must be at most the {available} images of x_train")
    if test_images < source.test_images:
        raise ConfigError(f"data={spec.name}: x_test must have {source.test_images} images; got {test_images}")
    return arrays


def _check_part(arrays: Arrays, part: str, source: ImageSource) -> None:
    """Raise ValueError if the images or the labels of a part are not as the source describes."""
    x, y, size = f"x_{part}", f"y_{part}", source.image_size
    if not (isinstance(arrays.get(x), np.ndarray) and isinstance(arrays.get(y), np.ndarray)):
        raise ValueError(f"load must return NumPy arrays {x} and {y}; got {', '.join(arrays) or 'no arrays'}")
    images, labels = arrays[x], arrays[y]
    if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
        raise ValueError(f"{x} must be uint8 (N, {size}, {size}, 3); got {images.dtype} {images.shape}")
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        raise ValueError(f"{y} must be whole numbers ({len(images)},); got {labels.dtype} {labels.shape}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < source.classes:
        raise ValueError(f"{y} must be from 0 to {source.classes - 1}; got {labels.min()} to {labels.max()}")
