"""Trains runs in the process of the sweep, one after the other, for use with a debugger."""

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from pydantic import PositiveFloat

from lrbench.executors.executor import MonitorFactory, OnProgress, RunError, Workspace
from lrbench.results.result import TrialResult
from lrbench.spec import ConfigError, DeviceInfo, PlainData, TrialSpec, validated
from lrbench.text import Log


class InlineSettings(PlainData):
    """The keys of conf/executor/inline.yaml."""

    checkpoint_seconds: PositiveFloat


class Inline:
    """Trains each run when it is submitted, in this process."""

    def __init__(self, workspace: Workspace, **settings: Any) -> None:
        self._workspace, self._settings = workspace, validated(InlineSettings, settings, "executor")

    def concurrency(self, device: DeviceInfo, wanted: str) -> int:
        """Return 1."""
        return 1

    def preflight(self, specs: Sequence[TrialSpec], log: Log) -> DeviceInfo:
        from lrbench.training.preflight import preflight  # imports torch, which takes seconds
        from lrbench.training.run_cache import RunCache

        self._run_cache = RunCache(self._workspace.data_root, compilation_pays=self._workspace.compilation_pays(1))
        return preflight(specs, self._run_cache, log)

    def submit(self, spec: TrialSpec, on_progress: OnProgress, monitor: MonitorFactory) -> Future[TrialResult]:
        """Train the run, and return a future that is done."""
        from lrbench.training.train import train_one

        future: Future[TrialResult] = Future()
        try:
            result = train_one(
                spec,
                partial(on_progress, spec),
                monitor(),
                checkpoint=self._workspace.checkpoint(spec),
                checkpoint_seconds=self._settings.checkpoint_seconds,
                run_cache=self._run_cache,
            )
            future.set_result(result)
        except ConfigError as error:
            future.set_exception(RunError(str(error)))
        except (RuntimeError, ArithmeticError) as error:  # others stop the sweep, for a debugger
            future.set_exception(RunError(f"{type(error).__name__}: {error}"))
        return future

    def close(self) -> None:
        """Do nothing: no run is still training."""
