"""The loop of a sweep, with an executor that does not train."""

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from lrbench.executors.executor import MonitorFactory, OnProgress, RunError
from lrbench.orchestration.pipeline import SearchPipeline
from lrbench.orchestration.plan import Plan, make_plan
from lrbench.orchestration.runner import train_all
from lrbench.results.files import read_results
from lrbench.results.result import Curve, Progress, TrialResult
from lrbench.spec import DeviceInfo, TrialSpec
from lrbench.text import Log
from tests.conftest import SMALL

DEVICE = DeviceInfo(device="cpu", gpus=0, cores=2, bfloat16=False)


class _Executor:
    """Answers at once. `fails` says which runs fail."""

    def __init__(self, fails: str = "") -> None:
        self.submitted: list[TrialSpec] = []
        self._fails = fails

    def concurrency(self, device: DeviceInfo, wanted: str) -> int:
        return 2

    def preflight(self, specs: Sequence[TrialSpec], log: Log) -> DeviceInfo:
        return DEVICE

    def submit(self, spec: TrialSpec, on_progress: OnProgress, monitor: MonitorFactory) -> Future[TrialResult]:
        self.submitted.append(spec)
        on_progress(spec, Progress(0.5, 0.1, None))
        future: Future[TrialResult] = Future()
        if spec.phase == self._fails:
            future.set_exception(RunError(f"no {spec.phase}"))
        else:
            future.set_result(_result(spec))
        return future

    def close(self) -> None:
        pass


class _RunEvents:
    """Writes down the events."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.skipped: list[int] = []

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        pass

    def skip(self, steps: Sequence[int]) -> None:
        self.skipped += steps

    def reuse(self, result: TrialResult) -> None:
        self.names.append(f"reuse {result.spec.phase}")

    def finish(self, result: TrialResult) -> None:
        self.names.append(f"finish {result.spec.phase}")

    def fail(self, spec: TrialSpec, reason: str) -> None:
        self.names.append(f"fail {spec.phase}: {reason}")


def _result(spec: TrialSpec) -> TrialResult:
    metric = "test/accuracy" if spec.phase == "final" else "val/accuracy"
    curves = {metric: Curve(steps=[1], values=[min(1.0, spec.optimizer.lr)], times=[1])}
    return TrialResult(
        spec=spec, state="finished", reason="", curves=curves, train_seconds=1.0, eval_seconds=0.0, environment={}
    )


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    overrides = ["schedulers=[rex,cosine]", "n_trials=3", "final_seeds=2", f"out={tmp_path}"]
    plan = make_plan(["sweep=smoke", *SMALL, *overrides])
    plan.folder.mkdir()
    return plan


def _train(plan: Plan, executor: _Executor) -> tuple[int, _RunEvents]:
    events, results = _RunEvents(), read_results(plan.trials)
    studies = plan.studies(results)
    pipelines = [SearchPipeline(cfg, plan.settings, DEVICE, 2, studies[name]) for name, cfg in plan.configs.items()]
    finished = {result.spec.key(): result for result in results}
    failures = train_all(pipelines, executor, finished, plan.trials, events)  # type: ignore[arg-type]
    return failures, events


def test_every_run_is_trained_once_and_written(plan: Plan) -> None:
    executor = _Executor()
    failures, events = _train(plan, executor)
    keys = [spec.key() for spec in executor.submitted]
    assert failures == 0 and len(set(keys)) == len(keys) == plan.runs == 10
    assert sorted(result.spec.key() for result in read_results(plan.trials)) == sorted(keys)
    assert sorted(events.names) == ["finish final"] * 4 + ["finish search"] * 6


def test_finished_runs_are_used_again(plan: Plan) -> None:
    _train(plan, _Executor())
    for path in plan.trials.glob("*-final-*-s1001-*.json"):
        path.unlink()
    executor = _Executor()
    failures, events = _train(plan, executor)
    assert failures == 0
    assert [(spec.phase, spec.seed) for spec in executor.submitted] == [("final", 1001)] * 2
    assert sorted(events.names) == ["finish final"] * 2 + ["reuse final"] * 2 + ["reuse search"] * 6


def test_failed_final_runs_are_counted(plan: Plan) -> None:
    failures, events = _train(plan, _Executor(fails="final"))
    assert failures == 4
    assert sorted(events.names) == ["fail final: no final"] * 4 + ["finish search"] * 6
    assert len(read_results(plan.trials)) == 6
    assert events.skipped == []


def test_a_search_that_fails_has_no_final_runs(plan: Plan) -> None:
    failures, events = _train(plan, _Executor(fails="search"))
    assert failures == 6
    assert events.names == ["fail search: no search"] * 6
    assert len(events.skipped) == 4
