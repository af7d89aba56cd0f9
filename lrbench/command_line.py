"""Commands of lrbench as text, for a person to copy."""

import itertools
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def command_line(module: str, overrides: Sequence[str]) -> str:
    """Return the command that runs a module of lrbench with this Python, for a person to copy."""
    path = Path(sys.executable)
    if shutil.which("python") == sys.executable:
        python = "python"
    else:
        python = str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
    folder = config_dir(sys.argv)
    return shlex.join([python, "-m", module, *(["--config-dir", folder] if folder else []), *overrides])


def config_dir(argv: Sequence[str]) -> str | None:
    """Return the folder of the user's own configs that a command line names."""
    return next((folder for flag, folder in itertools.pairwise(argv) if flag in ("--config-dir", "-cd")), None)
