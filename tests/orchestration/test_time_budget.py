"""A time limit: which trials and final seeds fit, for all schedulers alike."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lrbench.orchestration.pipeline import SchedulerPipeline
from lrbench.orchestration.plan import make_plan
from lrbench.orchestration.time_budget import MARGIN, REPORT_SECONDS, RunCounts, TimeBudget
from lrbench.results.result import Curve, TrialResult
from lrbench.spec import DeviceInfo, TrialSpec
from tests.conftest import SMALL, Spec

COUNTS = RunCounts(trials=10, seeds=4, search_runs=2, final_runs=2, search_steps=100, final_steps=200)
DEVICE = DeviceInfo(device="cpu", gpus=0, cores=2, bfloat16=False)


def _result(spec: TrialSpec, seconds: float) -> TrialResult:
    """Return a run whose accuracy depends on the learning rate."""
    curve = Curve(steps=[1], values=[1 / (1 + spec.optimizer.lr)], times=[1])
    return TrialResult(
        spec=spec,
        state="finished",
        reason="",
        curves={"val/accuracy": curve},
        train_seconds=seconds,
        eval_seconds=0.0,
        environment={},
    )


def _in_time(spec: Spec, limit: float) -> TimeBudget:
    """Return a budget after a whole sweep of 0.1 s a step on one worker, which ends by `limit`."""
    now = 0.0
    budget = TimeBudget(COUNTS, limit, 1, [], lambda: now)
    steps = spec().train.total_steps
    now += 0.1 * COUNTS.search_round
    budget.add(_result(spec(), 0.1 * steps))
    while budget.extend(0):
        in_search = not budget.allowance.search_is_over
        now += 0.1 * (COUNTS.search_round if in_search else COUNTS.final_round)
    assert now + REPORT_SECONDS <= limit or budget.allowance.seeds == 1
    return budget


@pytest.mark.parametrize(
    ("limit", "trials", "seeds"),
    [
        (10_000, 10, 4),
        # A round of trials takes 20 s, one of final runs 40 s. Four seeds need 160 s.
        (20 + 160 * MARGIN + REPORT_SECONDS + 2.5 * 20 * MARGIN, 3, 4),
        (20 + 2 * 40 + 40 * MARGIN + REPORT_SECONDS, 1, 3),
        (1, 1, 1),  # at least a trial and a seed
    ],
)
def test_what_fits(spec: Spec, limit: float, trials: int, seeds: int) -> None:
    allowance = _in_time(spec, limit).allowance
    assert (allowance.trials, allowance.seeds) == (trials, seeds)


def test_what_is_left_out(spec: Spec) -> None:
    assert _in_time(spec, 10_000).left_out() is None
    assert _in_time(spec, 1).left_out() == "1 of 10 trials and 1 of 4 final seeds for each scheduler"


def test_the_speed_must_be_known_before_a_second_round() -> None:
    budget = TimeBudget(COUNTS, 10_000, 2, [], lambda: 0.0)
    assert not budget.extend(100)
    assert (budget.allowance.trials, budget.allowance.search_is_over) == (1, False)


def test_trials_of_an_earlier_start_are_allowed(spec: Spec) -> None:
    searched = spec("phase=search").model_copy(update={"trial": 6})
    budget = TimeBudget(COUNTS, 1.0, 1, [_result(searched, 3.0)], lambda: 0.0)
    assert budget.allowance.trials == 7


def _search(folder: Path, until: Callable[[int], int]) -> list[dict[str, object]]:
    """Return the values of ten trials, allowed up to number `until(n)` after `n` trials."""
    plan = make_plan(["sweep=smoke", *SMALL, "schedulers=[rex]", "n_trials=10", "pending_trials=3", f"out={folder}"])
    plan.folder.mkdir(parents=True)
    budget = TimeBudget(plan.run_counts(), 0.0, 1, [])
    study = plan.studies([])["rex"]
    pipeline = SchedulerPipeline(plan.configs["rex"], plan.settings, DEVICE, 2, study, budget.allowance)
    sampled: list[dict[str, object]] = []
    while len(sampled) < 10:
        budget.allowance.trials = until(len(sampled))
        specs, _ = pipeline.ready()
        for spec in specs:
            sampled.append(dict(spec.sampled))
            pipeline.record_result(spec, _result(spec, 1.0))
    return sampled


def test_the_allowance_does_not_change_the_trials(tmp_path: Path) -> None:
    """A limit must not let the sampler see other scores than it sees without one."""
    at_once = _search(tmp_path / "at-once", lambda n: 10)
    assert _search(tmp_path / "one", lambda n: n + 1) == at_once
    assert _search(tmp_path / "two", lambda n: min(10, n + 2)) == at_once
