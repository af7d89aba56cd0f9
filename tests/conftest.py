import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from lrbench.config.compose import load_config, parse_spec
from lrbench.config.sweep_files import register_sweeps
from lrbench.spec import TrialSpec
from tests.builders import Run, run_builder
from tests.command_server import CommandServer

ROOT = Path(__file__).parents[1]
INTEGRATION = ROOT / "tests" / "integration"
LONGEST = ("test_chaos.py", "test_sweep.py")
SWEEP = ("sweep=smoke", "schedulers=[cosine,cyclic]", "n_trials=3", "final_seeds=2", "pending_trials=2")
SMALL = (
    "data=synthetic",
    "data.images=704",
    "data.holdout_images=64",
    "train.batch_size=32",
    "train.threads=1",
    "device=cpu",
)

collect_ignore = ["integration/torn"]  # it is for the processes that tests/integration/chaos.py starts

Spec = Callable[..., TrialSpec]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes as slow, and start them first, the longest at the front.

    A test process takes one file after the other. At the end both are then busy with short files.
    """
    for item in items:
        if item.path.is_relative_to(INTEGRATION):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: (item.path.name not in LONGEST, not item.path.is_relative_to(INTEGRATION)))


@pytest.fixture(scope="session", autouse=True)
def hydra() -> Iterator[None]:
    """Initializes Hydra, and composes the same files only once: it takes longer than most tests."""

    @functools.cache
    def composed(config_name: str, *choices: str) -> DictConfig:
        return compose(config_name, list(choices))

    register_sweeps()
    with initialize_config_module("lrbench.conf", version_base="1.3"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("lrbench.config.compose.compose", lambda name, choices: composed(name, *choices))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Gives each test process one core: two that compute with all cores take longer together."""
    torch.set_num_threads(1)


@pytest.fixture
def spec() -> Spec:
    """Returns the run of the given overrides, on a few synthetic images."""
    return lambda *overrides: parse_spec(load_config("config", [*SMALL, *overrides]))


@pytest.fixture(scope="session")
def run(hydra: None) -> Run:
    """Return a run with these accuracies: `validation` at its evaluations, `test` at its end."""
    return run_builder(SMALL)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def empty_store(shared_folder: Path) -> Path:
    """A database of MLflow without runs, to be copied: MLflow takes five seconds to create one."""
    from lrbench.tracking.mlflow_client import create_database

    with filelock.FileLock(shared_folder / "store.lock"):
        store = shared_folder / "store" / "mlflow.db"
        if not store.exists():
            create_database(f"sqlite:///{store}")
    return store


@pytest.fixture(scope="session")
def command_server() -> Iterator[CommandServer]:
    server = CommandServer()
    yield server
    server.close()


@pytest.fixture
def command(tmp_path: Path, command_server: CommandServer) -> Command:
    """Runs `python -m lrbench.<name>` in an empty folder, as a user would."""
    return lambda name, *arguments, **environment: command_server.run(name, arguments, tmp_path, environment)


@pytest.fixture
def python_command(tmp_path: Path) -> Command:
    """Runs `python -m lrbench.<name>` in an empty folder, in a new Python process."""

    def run(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", f"lrbench.{name}", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)

    return run


@pytest.fixture
def stored(tmp_path: Path, empty_store: Path) -> None:
    """Puts an empty store of MLflow into the folder of the test."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_store, tmp_path / "runs" / "mlflow.db")


@pytest.fixture(scope="session")
def run_sweep(command_server: CommandServer, empty_store: Path) -> Command:
    """Runs the sweep of the tests in a folder, with a store of MLflow that is already there."""

    def run(folder: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
        elsewhere = any(text.startswith("tracking.uri=") for text in overrides)
        if not elsewhere and not (folder / "runs" / "mlflow.db").exists():
            (folder / "runs").mkdir(exist_ok=True)
            shutil.copy(empty_store, folder / "runs" / "mlflow.db")
        return command_server.run("sweep", [*SMALL, *SWEEP, *overrides], folder, {})

    return run


@pytest.fixture(scope="session")
def swept(shared_folder: Path, run_sweep: Command) -> Path:
    """The folder of a finished sweep, which tests only read."""
    folder = shared_folder / "swept"
    with filelock.FileLock(shared_folder / "swept.lock"):
        if not (folder / "stdout.txt").exists():
            folder.mkdir()
            done = run_sweep(folder)
            assert done.returncode == 0, done.stderr
            (folder / "stdout.txt").write_text(done.stdout)
    return folder
