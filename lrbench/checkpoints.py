"""The state of a long run on disk, so that a crash costs a minute of it: tensors and numbers, in two generations, each whole."""

import contextlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from lrbench import results


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state, and keep the one before it beside it. Raises OSError where there is no room; then the one before is there."""
    written = io.BytesIO()  # on a full disk, torch raises what it may raise for anything
    torch.save(state, written)
    if path.exists():
        path.replace(_before(path))
    results.write_bytes(path, written.getvalue())


def load(path: Path) -> dict[str, Any] | None:
    """Return the newest state that can be read, as tensors and plain data only; None where there is none."""
    for candidate in (path, _before(path)):
        with contextlib.suppress(OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError):
            state: dict[str, Any] = torch.load(candidate, map_location="cpu", weights_only=True)
            return state
    return None


def remove(path: Path) -> None:
    """Remove what is there of a run that has ended."""
    for file in (path, _before(path), results.partial(path)):
        file.unlink(missing_ok=True)


def _before(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")
