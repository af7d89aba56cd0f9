"""Compilation of the training step with torch.compile."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lrbench.spec import ConfigError, TrialSpec


def compiles(spec: TrialSpec, *, pays: bool) -> bool:
    """Return True if the training step of a resolved run is compiled.

    With `train.compile=auto`, it is if the run is on a GPU and compilation pays.
    """
    if spec.train.compile == "auto":
        return pays and spec.device.startswith("cuda")
    return spec.train.compile == "on"


def keep_compiled_code(root: Path) -> None:
    """Keep the compiled code of this and of later processes beside the data in `root`.

    The environment variable TORCHINDUCTOR_CACHE_DIR has precedence.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(root / "compiled"))


class Compiled:
    """A function that is compiled when it is called first.

    If the compilation fails, the call raises ConfigError, or the function stays as it is and says
    so if it is not `required`.
    """

    def __init__(self, function: Callable[..., Any], *, required: bool) -> None:
        self._function, self._required = function, required
        self._compiled: Callable[..., Any] | None = torch.compile(function)
        self._has_run = False

    def __call__(self, *args: Any) -> Any:
        if self._compiled is None:
            return self._function(*args)
        if self._has_run:
            return self._compiled(*args)
        try:
            result = self._compiled(*args)
        except RuntimeError as error:  # torch's compilers raise many subclasses of it
            reason = str(error).strip().splitlines()[0]
            if self._required:
                raise ConfigError(f"train.compile=on: the compilation failed: {reason}") from error
            print(f"training without torch.compile: {reason}", flush=True)
            self._compiled = None
            return self._function(*args)
        self._has_run = True
        return result
