"""Result files: written atomically, read with a clear error."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from lrbench.results.result import Curve, TrialResult
from lrbench.spec import ConfigError


def write_result(folder: Path, result: TrialResult) -> Path:
    """Write a result to its own file in `folder`, whole or not at all."""
    path = folder / f"{result.spec.key()}.json"
    write_text(path, result.model_dump_json(by_alias=True))
    return path


def write_text(path: Path, text: str) -> None:
    """Write a file as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the old or the new content, even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial_path(path).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial_path(path).replace(path)
    except OSError as error:
        with suppress(OSError):
            partial_path(path).unlink(missing_ok=True)  # on a full disk, it takes up space
        raise OSError(error.errno, error.strerror, str(path)) from error


def partial_path(path: Path) -> Path:
    """Return the name of a file while it is written."""
    return path.with_name(f"{path.name}.partial")


@contextmanager
def writable_folder(folder: Path) -> Iterator[None]:
    """Create a folder. If the context raises ConfigError, remove the folders that are new.

    A folder with results stays. Raises ConfigError if the folder is not writable.
    """
    new: list[Path] = []
    try:
        new = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        for path in new:
            with suppress(OSError):
                path.rmdir()
        raise ConfigError(f"out={folder}: must be a writable folder ({error.strerror})") from error
    try:
        yield
    except ConfigError:
        if new and not any(folder.rglob("*.json")):
            shutil.rmtree(new[-1])
        raise


def read_result(path: Path) -> TrialResult:
    """Return the result in a file. Raises ConfigError if it is not a valid result."""
    try:
        return TrialResult.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        problem = f"{key}: {first['msg']}" if key else first["msg"]
        raise ConfigError(
            f"{path}: must be a result of this version of lrbench; {problem}. Move it away to continue."
        ) from error


def read_results(folder: Path) -> list[TrialResult]:
    """Return the results in a folder, in the order of their file names."""
    return [read_result(path) for path in sorted(folder.glob("*.json"))]


def write_lines(path: Path, results: Iterable[TrialResult]) -> None:
    """Write results as JSON lines, one per run, with only the last value of each curve.

    The curve of the test accuracy stays complete.
    """
    write_text(path, "".join(f"{_as_line(result)}\n" for result in results))


def read_lines(path: Path) -> list[TrialResult]:
    """Return the results in a file that `write_lines` wrote."""
    return [TrialResult.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _as_line(result: TrialResult) -> str:
    curves = {}
    for name, curve in result.curves.items():
        last = Curve(steps=curve.steps[-1:], values=curve.values[-1:], times=curve.times[-1:])
        curves[name] = curve if name == "test/accuracy" else last
    return result.model_copy(update={"curves": curves}).model_dump_json(by_alias=True)
