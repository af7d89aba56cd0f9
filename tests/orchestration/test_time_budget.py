"""A time limit, with the real loop of a sweep and a simulated clock."""

import heapq
import itertools
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from lrbench.executors.executor import MonitorFactory, OnProgress
from lrbench.orchestration import runner
from lrbench.orchestration.pipeline import make_pipelines
from lrbench.orchestration.plan import make_plan
from lrbench.orchestration.time_budget import RunCounts, TimeBudget
from lrbench.results.result import Curve, TrialResult
from lrbench.spec import DeviceInfo, TrialSpec
from tests.conftest import SMALL


def _result(spec: TrialSpec, seconds: float, steps: int | None = None) -> TrialResult:
    """Return a run whose accuracy depends on its configuration."""
    accuracy, last = Random(f"{spec.sampled} {spec.seed}").random(), (steps or spec.train.total_steps) - 1
    curves = {
        "lr": Curve(steps=[last], values=[0.1], times=[0]),
        "val/accuracy": Curve(steps=[last + 1], values=[accuracy], times=[0]),
    }
    return TrialResult(
        spec=spec,
        state="finished",
        reason="",
        curves=curves,
        train_seconds=seconds,
        eval_seconds=0.0,
        environment={},
    )


@dataclass
class _Simulation:
    """Workers that take a second for each 10 steps, and `first_extra` more in their first runs."""

    workers: int
    first_extra: float = 0.0
    now: float = 0.0
    results: list[TrialResult] = field(default_factory=list)
    _queue: list[tuple[Future[TrialResult], TrialSpec]] = field(default_factory=list)
    _busy: list[tuple[float, int, Future[TrialResult], TrialResult]] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def submit(self, spec: TrialSpec, on_progress: OnProgress, monitor: MonitorFactory) -> Future[TrialResult]:
        future: Future[TrialResult] = Future()
        self._queue.append((future, spec))
        self._start()
        return future

    def _start(self) -> None:
        while self._queue and len(self._busy) < self.workers:
            (future, spec), number = self._queue.pop(0), next(self._numbers)
            seconds = spec.train.total_steps / 10 + (self.first_extra if number < self.workers else 0.0)
            heapq.heappush(self._busy, (self.now + seconds, number, future, _result(spec, seconds)))

    def wait(self, running: Any, return_when: str) -> SimpleNamespace:
        """Let the time pass until the next run ends."""
        self.now, _, future, result = heapq.heappop(self._busy)
        future.set_result(result)
        self.results.append(result)
        self._start()
        return SimpleNamespace(done={future})


class _RunEvents:
    def __init__(self) -> None:
        self.skipped = 0

    def skip(self, steps: Sequence[int]) -> None:
        self.skipped += len(steps)

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


SCHEDULERS = ("cosine", "linear", "rex", "step", "constant")


def _sweep(
    folder: Path,
    simulation: _Simulation,
    monkeypatch: pytest.MonkeyPatch,
    minutes: float | None,
    schedulers: int,
    before: Sequence[TrialResult] = (),
    more: Sequence[str] = (),
) -> TimeBudget:
    """Run a sweep of 20 trials and 6 final seeds, whose runs have 100 steps."""
    overrides = [
        f"schedulers=[{','.join(SCHEDULERS[:schedulers])}]",
        "train.epochs=5",
        "n_trials=20",
        "final_seeds=6",
        "pending_trials=4",
        f"out={folder}",
    ]
    plan = make_plan(["sweep=smoke", *SMALL, *overrides, "final_default=false", *more])
    plan.folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(runner, "wait", simulation.wait)
    monkeypatch.setattr(runner, "write_result", lambda folder, result: None)
    limit = 1e6 if minutes is None else minutes
    budget = TimeBudget(
        plan.run_counts(), limit, simulation.workers, before, plan.settings.final_place, lambda: simulation.now
    )
    studies, device = plan.studies(before), DeviceInfo(device="cpu", gpus=0, cores=2, bfloat16=False)
    pipelines = make_pipelines(plan, device, simulation.workers, studies, budget.allowance)
    finished = {result.spec.key(): result for result in before}
    runner.train_all(pipelines, simulation, finished, folder, _RunEvents(), budget)  # type: ignore[arg-type]  # stand-ins
    return budget


@pytest.mark.parametrize("schedulers", [1, 2, 5])
@pytest.mark.parametrize("workers", [1, 2, 8, 16])
@pytest.mark.parametrize("minutes", [4, 10, 30])
def test_a_sweep_ends_in_time_with_equal_shares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedulers: int, workers: int, minutes: float
) -> None:
    simulation = _Simulation(workers)
    allowance = _sweep(tmp_path, simulation, monkeypatch, minutes, schedulers).allowance
    at_least = (6 * schedulers / workers + 1) * 10 * 2  # a trial and the final seeds
    assert simulation.now <= max(60 * minutes, at_least)
    shares = {
        name: (
            {run.spec.trial_number for run in simulation.results if run.spec.phase == "search" and _name(run) == name},
            {run.spec.seed for run in simulation.results if run.spec.phase == "final" and _name(run) == name},
        )
        for name in SCHEDULERS[:schedulers]
    }
    for trials, seeds in shares.values():
        assert trials <= set(range(allowance.trials))  # a trial that repeats another is not trained
        assert max(trials) >= allowance.trials - 2
        assert seeds == set(range(1000, 1000 + allowance.seeds))
    whole = schedulers * (20 + 6) / workers * 10 * 1.5 + 60
    if 60 * minutes > whole:
        assert (allowance.trials, allowance.seeds) == (20, 6)


@pytest.mark.parametrize("minutes", [5, 6])
def test_all_searches_get_equal_shares_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float
) -> None:
    """The confirmations of the best trials and the runs at other peak rates fit too."""
    simulation, more = _Simulation(4), ("searches=3", "confirm=2", "final_neighbours=true")
    allowance = _sweep(tmp_path, simulation, monkeypatch, minutes, 2, more=more).allowance
    assert simulation.now <= 60 * minutes
    counts = Counter((run.spec.search, _name(run), run.spec.phase) for run in simulation.results)
    for search, name in itertools.product(range(3), SCHEDULERS[:2]):
        shares = {phase: counts[search, name, phase] for phase in ("search", "confirm", "final", "double_rate")}
        assert shares == {"search": allowance.trials, "confirm": 2, "final": allowance.seeds, "double_rate": 1}
    assert 2 < allowance.trials < 20
    first = simulation.results[: len(simulation.results) // 2]
    again = _sweep(tmp_path / "again", _Simulation(4), monkeypatch, minutes, 2, before=first, more=more).allowance
    assert again.trials >= max(run.spec.trial_number for run in first if run.spec.phase == "search") + 1


def _name(run: TrialResult) -> str:
    return run.spec.scheduler.name


def test_time_that_is_left_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers and five schedulers: a round of trials takes 25 s, the final runs 150 s."""
    simulation = _Simulation(2)
    allowance = _sweep(tmp_path, simulation, monkeypatch, 6, 5).allowance
    assert allowance.trials >= 6
    assert allowance.seeds == 6


def test_the_first_run_of_a_worker_may_be_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It compiles. The next runs show that there is time for more trials."""
    for number, workers in enumerate((1, 2)):
        simulation = _Simulation(workers, first_extra=60.0)
        assert _sweep(tmp_path / f"{number}", simulation, monkeypatch, 10, 1).allowance.trials > 10


def test_a_pruned_run_counts_with_the_steps_that_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = _Simulation(1)
    _sweep(tmp_path, simulation, monkeypatch, 1, 1)
    budgets = [_known(simulation.results[0].spec, seconds, steps) for seconds, steps in ((10.0, 100), (1.0, 10))]
    assert budgets[0] == budgets[1]


def _known(spec: TrialSpec, seconds: float, steps: int) -> list[float]:
    counts = RunCounts(1, 1, 1, 0, 1, 0, 100, 100)
    budget = TimeBudget(counts, 1.0, 1, [_result(spec, seconds, steps)], lambda spec: 0, lambda: 0.0)
    return budget._speeds


def test_a_later_start_adds_the_same_trials_as_a_sweep_without_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sampler must not see other scores because a limit came between."""
    whole, first, second = (_Simulation(2) for _ in range(3))
    _sweep(tmp_path / "whole", whole, monkeypatch, None, 2)
    cut = _sweep(tmp_path / "cut", first, monkeypatch, 4, 2)
    assert cut.left_out() == f"{cut.allowance.trials} of 20 trials and 6 of 6 final seeds for each scheduler"
    rest = _sweep(tmp_path / "cut", second, monkeypatch, None, 2, first.results)
    assert rest.left_out() is None
    assert _sampled(first.results + second.results) == _sampled(whole.results)


def _sampled(results: Sequence[TrialResult]) -> dict[tuple[str, int | None], object]:
    return {(_name(run), run.spec.trial): run.spec.sampled for run in results if run.spec.phase == "search"}


def test_a_later_start_with_less_time_keeps_the_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _Simulation(2), _Simulation(2)
    long = _sweep(tmp_path, first, monkeypatch, 10, 2).allowance
    short = _sweep(tmp_path, second, monkeypatch, 1, 2, first.results).allowance
    assert (short.trials, short.seeds) == (long.trials, long.seeds)
    assert not second.results
