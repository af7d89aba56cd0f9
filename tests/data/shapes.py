"""A data set of a user: 7 classes of 24 x 24 pixels, which differ in brightness."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lrbench.data.dataset import Arrays, ImageSource
from lrbench.spec import DataSpec
from lrbench.text import Log

CLASSES, SIZE, TEST_IMAGES = 7, 24, 70


def _set(name: str, change: Callable[[np.ndarray], object]) -> Callable[[Arrays], None]:
    """Return a function that changes one array of the data set."""

    def apply(arrays: Arrays) -> None:
        arrays[name] = change(arrays[name])  # type: ignore[assignment]  # mistakes of a user

    return apply


def _raise(error: Exception) -> Callable[[Arrays], None]:
    def apply(arrays: Arrays) -> None:
        raise error

    return apply


MISTAKES: dict[str, Callable[[Arrays], None]] = {
    "float images": _set("x_train", lambda images: images.astype(np.float32)),
    "smaller images": _set("x_train", lambda images: images[:, :23, :23]),
    "channels first": _set("x_test", lambda images: images.transpose(0, 3, 1, 2)),
    "grey images": _set("x_test", lambda images: images[..., 0]),
    "a label too high": _set("y_train", lambda labels: labels + 1),
    "a label below zero": _set("y_test", lambda labels: labels - 1),
    "float labels": _set("y_train", lambda labels: labels / 2),
    "one-hot labels": _set("y_train", lambda labels: np.eye(CLASSES, dtype=np.int64)[labels]),
    "fewer labels": _set("y_train", lambda labels: labels[:-1]),
    "a list of labels": _set("y_test", lambda labels: labels.tolist()),
    "no labels": lambda arrays: arrays.clear(),
    "too few images": lambda arrays: arrays.update({name: values[:30] for name, values in arrays.items()}),
    "too few test images": lambda arrays: arrays.update({name: arrays[name][:30] for name in ("x_test", "y_test")}),
    "no file": _raise(FileNotFoundError(2, "No such file or directory", "shapes.npz")),
}


def source(spec: DataSpec, mistake: str = "") -> ImageSource:
    """Return the source, with one of the mistakes that its author could make."""

    def load(root: Path, log: Log) -> Arrays:
        generator = np.random.default_rng(spec.seed)
        arrays: Arrays = {}
        for part, count in (("train", spec.images), ("test", TEST_IMAGES)):
            labels = np.arange(count) % CLASSES
            pixels = generator.integers(0, 50, (count, SIZE, SIZE, 3)) + 25 * labels[:, None, None, None]
            arrays |= {f"x_{part}": pixels.astype(np.uint8), f"y_{part}": labels}
        if mistake:
            MISTAKES[mistake](arrays)
        return arrays

    return ImageSource(CLASSES, SIZE, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), TEST_IMAGES, load)


def nothing(spec: DataSpec) -> None:
    """Return no source, as a function without a `return`."""
