"""Checkpoints: the state of a long run on disk, so that a crash costs only a minute of training.

The last two states are kept, so that one of them can be read if a write is cut off.
"""

import contextlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from lrbench.results.files import partial_path, write_bytes


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
