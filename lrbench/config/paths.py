"""Folders that depend on the machine, not on the run."""

import os
from pathlib import Path

import platformdirs


def data_root(root: str | None = None) -> Path:
    """Return the absolute folder of the data files.

    It is `root`, else $LRBENCH_DATA, else `lrbench` in the user's cache folder.
    """
    folder = root or os.environ.get("LRBENCH_DATA") or platformdirs.user_cache_dir("lrbench")
    return Path(folder).expanduser().absolute()
