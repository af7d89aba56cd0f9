"""Checkpoints: the state of a long run on disk, so that a crash costs only a minute of training.

The last two states are kept, so that one of them can be read if a write is cut off.
"""

import contextlib
import io
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lrbench.results.files import partial_path, write_bytes


class Checkpointer:
    """Keeps the state of a run in the file `path`, and saves it every `seconds`.

    Without a path, it keeps nothing.
    """

    def __init__(self, path: Path | None, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._last_saved = time.perf_counter()

    def load(self) -> dict[str, Any] | None:
        """Return the state that was saved last, None if there is no such state."""
        return load_checkpoint(self._path) if self._path else None

    def save_if_due(self, state: Callable[[], dict[str, Any]]) -> None:
        """Save the state that `state` returns if the last save is `seconds` ago."""
        if self._path is None or time.perf_counter() - self._last_saved <= self._seconds:
            return
        with contextlib.suppress(OSError):  # the disk is full; the run may end before it needs the checkpoint
            save_checkpoint(self._path, state())
        self._last_saved = time.perf_counter()

    def remove(self) -> None:
        """Remove the files of a run that has ended."""
        if self._path:
            remove_checkpoint(self._path)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state, and keep the previous one in a second file.

    Raises OSError if the disk is full. The previous state is safe then.
    """
    # torch.save into a file may raise other errors than OSError if the disk is full.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    if path.exists():
        path.replace(_previous_path(path))
    write_bytes(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the newest state that can be read, None if there is no such state.

    It loads tensors and plain data only, because a pickle could run code.
    """
    for candidate in (path, _previous_path(path)):
        with contextlib.suppress(OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
            state: dict[str, Any] = torch.load(candidate, map_location="cpu", weights_only=True)
            return state
    return None


def remove_checkpoint(path: Path) -> None:
    """Remove the files of a run that has ended."""
    for file in (path, _previous_path(path), partial_path(path)):
        file.unlink(missing_ok=True)


def _previous_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")
