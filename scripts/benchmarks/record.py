"""The results of a benchmark, written with the facts that they depend on."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lrbench.results import provenance

RESULTS = Path(__file__).parents[1] / "bench_results"
ROOT = Path(__file__).parents[2]


def keep(name: str, results: Mapping[str, Any], folder: Path | None = None) -> None:
    """Write the results of a benchmark to NAME.json in `folder`, and print the path.

    The default folder is bench_results/MACHINE.
    """
    command = f"scripts/bench {' '.join([name, *sys.argv[1:]])}"
    content = {"command": command, "made with": circumstances(), **results}
    path = (folder or RESULTS / machine()).absolute() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")


def machine() -> str:
    """Return the processor and its cores as a folder name, such as amd-epyc-2-cores."""
    words = re.sub(r"\((r|tm)\)", "", f"{cpu()} {os.cpu_count()} cores".lower())
    return "-".join(re.findall(r"[a-z0-9.]+", words))


def circumstances() -> dict[str, Any]:
    """Return the facts that figures depend on: hardware, versions, commit and date."""
    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{package: _version(package) for package in ("torch", "optuna", "mlflow", "hydra-core")},
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """Return the measured commit, "unknown" outside of a clone.

    It has a mark if there are uncommitted changes to other files than the results.
    """
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return "unknown"
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--", ".", f":!{RESULTS.relative_to(ROOT)}"], capture_output=True
    ).stdout
    return head.stdout.strip() + (provenance.DIRTY if changed else "")


def cpu() -> str:
    """Return the name of the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
