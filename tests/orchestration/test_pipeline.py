"""One scheduler in a sweep: its runs, their order and seeds, and the use of the results."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from lrbench.orchestration.pipeline import SearchPipeline, make_pipelines
from lrbench.orchestration.plan import make_plan
from lrbench.results.result import Curve, TrialResult
from lrbench.spec import DeviceInfo, TrialSpec
from tests.conftest import SMALL

DEVICE = DeviceInfo(device="cpu", gpus=0, cores=2, bfloat16=False)
Accuracy = Callable[[TrialSpec], float]


def _pipeline(folder: Path, *overrides: str) -> SearchPipeline:
    plan = make_plan(["sweep=smoke", *SMALL, "schedulers=[rex]", f"out={folder}", *overrides])
    plan.folder.mkdir(parents=True, exist_ok=True)
    (name,) = plan.settings.schedulers
    return SearchPipeline(plan.configs[name], plan.settings, DEVICE, 2, plan.studies([])[name])


def _result(
    spec: TrialSpec, accuracies: list[float], state: Literal["finished", "pruned", "diverged"] = "finished"
) -> TrialResult:
    steps = list(range(1, len(accuracies) + 1))
    metric = "test/accuracy" if spec.is_scored_on_test else "val/accuracy"
    curves = {metric: Curve(steps=steps, values=accuracies, times=steps)}
    return TrialResult(
        spec=spec, state=state, reason="", curves=curves, train_seconds=1.0, eval_seconds=0.0, environment={}
    )


def _train(
    pipeline: SearchPipeline, accuracy: Callable[[TrialSpec], float | None], *, last_first: bool = True
) -> tuple[list[TrialSpec], list[int]]:
    """Record results until no run is ready. An accuracy of None is a failed run.

    Returns the runs in their order, and the lengths of the skipped runs.
    """
    trained: list[TrialSpec] = []
    waiting, skipped_steps = pipeline.ready()
    while waiting:
        spec = waiting.pop(-1 if last_first else 0)
        value = accuracy(spec)
        pipeline.record_result(spec, None if value is None else _result(spec, [value]))
        trained.append(spec)
        specs, steps = pipeline.ready()
        waiting += specs
        skipped_steps += steps
    return trained, skipped_steps


def _of_phase(specs: list[TrialSpec], phase: str) -> list[TrialSpec]:
    return [spec for spec in specs if spec.phase == phase]


def _rate(spec: TrialSpec) -> float:
    return min(1.0, spec.optimizer.lr)


def test_final_runs_repeat_the_best_trial_with_new_seeds(tmp_path: Path) -> None:
    pipeline = _pipeline(tmp_path, "n_trials=6", "final_seeds=3")
    trained, skipped_steps = _train(pipeline, _rate)
    search, final = _of_phase(trained, "search"), _of_phase(trained, "final")
    best = max(search, key=_rate)
    assert [spec.trial for spec in final] == [best.trial] * 3
    assert {spec.optimizer.lr for spec in final} == {best.optimizer.lr}
    assert {spec.seed for spec in search} == {0}
    assert {spec.seed for spec in final} == {1000, 1001, 1002}
    assert skipped_steps == []
    result = pipeline.best()
    assert result is not None and result.spec == best


def test_the_score_of_a_trial_is_the_mean_over_its_seeds(tmp_path: Path) -> None:
    """Trial 1 is the best with seed 0, trial 2 on average."""
    scores = {(1, 0): 0.9, (1, 1): 0.1, (2, 0): 0.6, (2, 1): 0.7}
    pipeline = _pipeline(tmp_path, "n_trials=3", "search_seeds=2", "final_seeds=1")
    trained, _ = _train(pipeline, lambda spec: scores.get((spec.trial_number, spec.seed), 0.3))
    labels = sorted((spec.trial_number, spec.seed) for spec in _of_phase(trained, "search"))
    assert labels == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert [spec.trial for spec in _of_phase(trained, "final")] == [2]
    assert [trial.value for trial in pipeline.study.trials()] == pytest.approx([0.3, 0.5, 0.65])


def test_equal_trials_are_trained_once(tmp_path: Path) -> None:
    """The space has nine points, and the search thirty trials."""
    overrides = ("schedulers=[cosine_warm_restarts]", "~optimizer.search.lr", "n_trials=30", "final_seeds=1")
    pipeline = _pipeline(tmp_path, *overrides)

    def accuracy(spec: TrialSpec) -> float:
        return len(str(spec.sampled)) % 7 / 7 + float(spec.sampled["scheduler.knobs.cycles"]) / 100

    trained, skipped_steps = _train(pipeline, accuracy)
    search = [str(spec.sampled) for spec in _of_phase(trained, "search")]
    assert len(set(search)) == len(search) <= 9
    assert len(search) + len(skipped_steps) == 30
    assert set(skipped_steps) == {trained[0].train.total_steps}
    trials = pipeline.study.trials()
    scores = {str(trial.params): trial.value for trial in trials}
    assert len(trials) == 30
    assert all(scores[str(trial.params)] == trial.value for trial in trials)
    assert len(scores) == len(search)


@pytest.mark.parametrize("best_is_default", [True, False])
def test_final_default_adds_runs_of_the_default(tmp_path: Path, best_is_default: bool) -> None:
    pipeline = _pipeline(tmp_path, "n_trials=3", "final_seeds=2", "final_default=true")
    trained, skipped_steps = _train(
        pipeline, lambda spec: float((spec.trial == 0) == best_is_default) * (1 - spec.trial_number / 10)
    )
    final = sorted((spec.trial, spec.seed) for spec in _of_phase(trained, "final"))
    default, best = [(0, 1000), (0, 1001)], [(1, 1000), (1, 1001)]
    final_steps = _of_phase(trained, "final")[0].train.total_steps
    assert final == (default if best_is_default else default + best)
    assert skipped_steps == ([final_steps] * 2 if best_is_default else [])


def test_the_trials_do_not_depend_on_the_order_in_which_runs_end(tmp_path: Path) -> None:
    overrides = ("n_trials=8", "final_seeds=1", "pending_trials=3")
    backward, _ = _train(_pipeline(tmp_path / "a", *overrides), _rate)
    forward, _ = _train(_pipeline(tmp_path / "b", *overrides), _rate, last_first=False)
    assert backward != forward
    assert sorted(map(TrialSpec.key, backward)) == sorted(map(TrialSpec.key, forward))


def test_a_trial_with_a_failed_run_is_not_chosen(tmp_path: Path) -> None:
    pipeline = _pipeline(tmp_path, "n_trials=4", "final_seeds=1")
    trained, _ = _train(pipeline, lambda spec: None if spec.trial in (0, 1) else 0.5)
    assert [spec.trial for spec in _of_phase(trained, "final")] == [2]


def test_no_final_runs_if_every_trial_failed(tmp_path: Path) -> None:
    pipeline = _pipeline(tmp_path, "n_trials=2", "final_seeds=3")
    trained, skipped_steps = _train(pipeline, lambda spec: None)
    assert _of_phase(trained, "final") == [] and pipeline.best() is None
    assert len(skipped_steps) == 3


def test_the_median_pruner_stops_runs_below_the_median(tmp_path: Path) -> None:
    overrides = ("pruner=median", "pruner.args.n_startup_trials=2", "pending_trials=1", "n_trials=5", "final_seeds=1")
    pipeline = _pipeline(tmp_path, *overrides)
    for number, accuracies in enumerate([[0.3, 0.6], [0.4, 0.5]]):
        (spec,), _ = pipeline.ready()
        monitor = pipeline.pruning_monitor(spec)
        assert monitor is not None and monitor(1, accuracies[0])
        pipeline.record_result(spec, _result(spec, accuracies))
        assert spec.trial == number
    (spec,), _ = pipeline.ready()
    for accuracy, continues in ((0.36, True), (0.34, False)):  # the median of the others is 0.35
        monitor = pipeline.pruning_monitor(spec)
        assert monitor is not None and monitor(1, accuracy) == continues
    pipeline.record_result(spec, _result(spec, [0.34], "pruned"))
    pipeline.ready()
    trials = pipeline.study.trials()
    assert [trial.state.name for trial in trials][:3] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert trials[0].intermediate_values == {1: 0.3, 2: 0.6}
    result = pipeline.best()
    assert result is not None and result.spec.trial == 0


def test_final_runs_are_never_pruned(tmp_path: Path) -> None:
    pipeline = _pipeline(tmp_path, "pruner=median", "n_trials=2", "final_seeds=1")
    trained, _ = _train(pipeline, _rate)
    assert [pipeline.pruning_monitor(spec) is None for spec in trained] == [False, False, True]


@pytest.mark.parametrize(
    "name", ["none", "median", "percentile", "successive_halving", "hyperband", "threshold", "patient"]
)
def test_every_pruner_decides(tmp_path: Path, name: str) -> None:
    pipeline = _pipeline(tmp_path, f"pruner={name}", "n_trials=6", "final_seeds=1")
    trained, _ = _train(pipeline, _rate)
    monitor = pipeline.pruning_monitor(trained[0])
    assert (monitor is None) == (name == "none")
    if monitor is not None:
        assert isinstance(monitor(1, 0.5), bool)


def test_the_best_trials_are_trained_again_before_one_is_chosen(tmp_path: Path) -> None:
    """Trial 1 has the highest score, but trial 2 is better over both of its runs."""
    scores = {("search", 1): 0.9, ("confirm", 1): 0.1, ("search", 2): 0.8, ("confirm", 2): 0.7}
    pipeline = _pipeline(tmp_path, "n_trials=4", "confirm=2", "final_seeds=1")
    trained, skipped_steps = _train(pipeline, lambda spec: scores.get((spec.phase, spec.trial_number), 0.3))
    assert sorted((spec.trial, spec.seed) for spec in _of_phase(trained, "confirm")) == [(1, 1), (2, 1)]
    assert [spec.trial for spec in _of_phase(trained, "final")] == [2]
    assert skipped_steps == []


def test_one_trial_with_a_score_needs_no_confirmation(tmp_path: Path) -> None:
    pipeline = _pipeline(tmp_path, "n_trials=3", "confirm=2", "search_seeds=2", "final_seeds=1")
    trained, skipped_steps = _train(pipeline, lambda spec: 0.5 if spec.trial == 1 else None)
    assert _of_phase(trained, "confirm") == [] and [spec.trial for spec in _of_phase(trained, "final")] == [1]
    assert skipped_steps == [trained[0].train.total_steps] * 4


@pytest.mark.parametrize("failed", [(1,), (1, 2)])
def test_a_trial_whose_confirmation_failed_is_not_chosen_if_another_has_one(
    tmp_path: Path, failed: tuple[int, ...]
) -> None:
    """If all confirmations failed, the scores of the search decide."""
    pipeline = _pipeline(tmp_path, "n_trials=3", "confirm=2", "final_seeds=1")
    scores = {0: 0.1, 1: 0.9, 2: 0.8}
    trained, _ = _train(
        pipeline,
        lambda spec: None if spec.phase == "confirm" and spec.trial in failed else scores[spec.trial_number],
    )
    assert [spec.trial for spec in _of_phase(trained, "final")] == [2 if failed == (1,) else 1]


def test_neighbours_have_half_and_twice_the_chosen_rate_and_the_first_final_seed(tmp_path: Path) -> None:
    pipeline = _pipeline(tmp_path, "n_trials=3", "final_seeds=2", "final_neighbours=true")
    trained, skipped_steps = _train(pipeline, _rate)
    (final, _), (half,), (double,) = (_of_phase(trained, phase) for phase in ("final", "half_rate", "double_rate"))
    assert half.optimizer.lr == final.optimizer.lr / 2 and double.optimizer.lr == 2 * final.optimizer.lr
    assert half.seed == double.seed == 1000 and skipped_steps == []
    without = {"phase", "sampled", "optimizer", "seed"}
    assert half.model_dump(exclude=without) == final.model_dump(exclude=without)


def test_each_search_is_what_a_sweep_with_a_seed_2000_higher_would_do(tmp_path: Path) -> None:
    """Only the number of the search differs, so searches are as independent as sweeps are."""
    overrides = ("n_trials=8", "confirm=2", "final_seeds=2")
    plan = make_plan(["sweep=smoke", *SMALL, "schedulers=[rex]", f"out={tmp_path / 'one'}", "searches=2", *overrides])
    plan.folder.mkdir(parents=True)
    first, second = make_pipelines(plan, DEVICE, 2, plan.studies([]))
    alone, _ = _train(_pipeline(tmp_path / "other", "seed=2000", *overrides), _rate)
    assert [spec.model_copy(update={"search": 0}) for spec in _train(second, _rate)[0]] == alone
    seeds = {spec.seed for spec in _train(first, _rate)[0]}
    assert seeds == {0, 1, 1000, 1001} and seeds.isdisjoint(spec.seed for spec in alone)


@pytest.mark.parametrize("startup", [1, 4])
@pytest.mark.parametrize("first", [2, 5, 6])
def test_trials_that_are_added_later_are_the_same_as_at_once(tmp_path: Path, startup: int, first: int) -> None:
    """The first start has told the study all of its scores, more than a sampler may use at once."""
    overrides = (f"startup_trials={startup}", "sampler.args.n_startup_trials=2", "final_seeds=1")
    at_once, _ = _train(_pipeline(tmp_path / "once", "n_trials=12", *overrides), _rate)
    before, _ = _train(_pipeline(tmp_path / "later", f"n_trials={first}", *overrides), _rate)
    later = _pipeline(tmp_path / "later", "n_trials=12", *overrides)
    after, _ = _train(later, _rate)
    assert _of_phase(after, "search") == _of_phase(at_once, "search")
    assert _of_phase(before, "search") == [spec for spec in _of_phase(after, "search") if spec.trial_number < first]
    assert len(later.study.scored_trials()) == 12
