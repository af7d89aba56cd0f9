import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import initialize_config_module

from lrbench import config, plan
from lrbench.spec import TrialSpec

ROOT = Path(__file__).parents[1]
SWEEP = ("sweep=smoke", "schedulers=[cosine,cyclic]", "n_trials=3", "final_seeds=2", "pending_trials=2")
SMALL = ("data=synthetic", "data.images=704", "data.holdout_images=64", "train.batch_size=32", "train.threads=1", "device=cpu")

collect_ignore = ["torn"]  # it is for the processes that tests/chaos.py starts

Spec = Callable[..., TrialSpec]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest group first: one process has it to itself while the other goes through the rest."""
    items.sort(key=lambda item: item.path.name != "test_sweep.py")


@pytest.fixture(scope="session", autouse=True)
def hydra() -> Iterator[None]:
    plan.register_sweeps()
    with initialize_config_module("lrbench.conf", version_base="1.3"):
        yield


@pytest.fixture
def spec() -> Spec:
    """Returns the run of the given overrides, on few synthetic images."""
    return lambda *overrides: config.parse(config.load("config", [*SMALL, *overrides]))


def run_sweep(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Runs the sweep of the tests in a folder."""
    command = [sys.executable, "-m", "lrbench.sweep", *SMALL, *SWEEP, *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280)


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished sweep, to be left as it is."""
    folder = tmp_path_factory.mktemp("sweep")
    done = run_sweep(folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `python -m lrbench.<name>` in an empty folder, as a user would."""

    def run(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"lrbench.{name}", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=280,
        )

    return run
