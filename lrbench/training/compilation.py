"""Compilation of the training step with torch.compile."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from lrbench.spec import ConfigError, TrialSpec

Mode = Literal["no", "try", "must"]
_Result = TypeVar("_Result")


def compilation_mode(spec: TrialSpec, *, pays: bool) -> Mode:
    """Return whether the training step of a resolved run is compiled.

    With `train.compile=auto`, it is if the run is on a GPU and compilation pays. Only then may the
    compilation fail.
    """
    if spec.train.compile == "auto":
        return "try" if pays and spec.device.startswith("cuda") else "no"
    return "must" if spec.train.compile == "on" else "no"


def keep_compiled_code(root: Path) -> None:
    """Keep the compiled code of this and of later processes beside the data in `root`.

    The environment variable TORCHINDUCTOR_CACHE_DIR has precedence. If `root` cannot be written,
    torch chooses a folder.
    """
    folder = root / "compiled"
    if os.access(folder if folder.exists() else root, os.W_OK):
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


class Compilation:
    """The compiled functions of a training step. Each is compiled at its first call."""

    def __init__(self, mode: Mode) -> None:
        self._mode = mode
        self._is_proven = mode == "no"  # then nothing can fail

    @property
    def is_on(self) -> bool:
        """True if the step is compiled, False also after a failure."""
        return self._mode != "no"

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, compiled unless the compilation is off or has failed."""
        if self._mode == "no":
            return function
        compiled = torch.compile(function)
        return lambda *args: (function if self._mode == "no" else compiled)(*args)

    def run(self, step: Callable[[], _Result]) -> _Result:
        """Return what `step` returns, a whole step with its backward pass.

        If its compilation fails, this raises ConfigError, or makes the step without compiled
        functions and says so if the run does not require them.
        """
        if self._is_proven:
            return step()
        try:
            result = step()
        except (RuntimeError, OSError) as error:  # torch's compilers raise many subclasses of RuntimeError
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            if self._mode == "must":
                raise ConfigError(f"train.compile=on: the compilation failed: {reason}") from error
            print(f"training without torch.compile: {reason}", flush=True)
            self._mode = "no"
            result = step()
        self._is_proven = True
        return result
