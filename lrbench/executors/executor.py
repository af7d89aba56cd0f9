"""The interface between a sweep and an executor, which trains its runs.

The config names the executor by its `_target_`. A sweep builds it with a `Workspace` and the other
keys of conf/executor. It calls `preflight` once, then `submit` for each run, then `close`.
Progress and results come back by callbacks and futures, from any thread. The monitor of a run is
called in the sweep's process at each evaluation, so an executor elsewhere must relay its answer.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lrbench.config.targets import locate
from lrbench.results.result import Progress, ShouldContinue, TrialResult
from lrbench.spec import ConfigError, DeviceInfo, TrialSpec
from lrbench.text import Log

# Called with a run and its position while it is being trained.
OnProgress = Callable[[TrialSpec, Progress], None]
# Called each time a run starts or restarts. It returns None if the run must not be stopped.
MonitorFactory = Callable[[], ShouldContinue | None]


# 60 s of compilation, and 1.5 ms gained in each step of the full network on an H200.
STEPS_THAT_PAY = 40_000


class RunError(Exception):
    """A run ended without a result. The message is the reason."""


@dataclass(frozen=True)
class Workspace:
    """The folders of a sweep for logs and checkpoints, and the folder of the data files.

    `steps` is the number of optimizer steps of the whole sweep.
    """

    logs: Path
    checkpoints: Path
    data_root: Path
    steps: int = 0

    def checkpoint(self, spec: TrialSpec) -> Path:
        """Return the checkpoint file of a run."""
        return self.checkpoints / f"{spec.key()}.pt"

    def compilation_pays(self, concurrency: int) -> bool:
        """Return True if each of the runs at once makes enough steps to pay for torch.compile.

        The whole sweep counts, so that a sweep that resumes trains its last runs like its first.
        """
        return self.steps / concurrency >= STEPS_THAT_PAY


class Executor(Protocol):
    """Trains the submitted runs in their order, several at once. Building one starts nothing."""

    def concurrency(self, device: DeviceInfo, wanted: str) -> int:
        """Return how many runs train at once on a machine with `device`.

        `wanted` is the device that the config asks for, such as `auto` or `cuda:1`.
        """

    def preflight(self, specs: Sequence[TrialSpec], log: Log) -> DeviceInfo:
        """Check that such runs can be trained, and fetch their data. Called once, before `submit`.

        Raises ConfigError if the specs cannot be trained, RunError if the check itself fails.
        """

    def submit(self, spec: TrialSpec, on_progress: OnProgress, monitor: MonitorFactory) -> Future[TrialResult]:
        """Return a future of the result. It raises RunError if the run fails."""

    def close(self) -> None:
        """End the runs that are still training. Called also if `preflight` failed or never ran."""


def build_executor(component: Mapping[str, Any], workspace: Workspace) -> Executor:
    """Return the executor that a config names. Raises ConfigError for an invalid argument."""
    arguments = {key: value for key, value in component.items() if key not in ("name", "_target_")}
    try:
        executor: Executor = locate(component["_target_"])(workspace, **arguments)
    except TypeError as error:
        raise ConfigError(f"executor={component['name']}: {error}") from error
    return executor
