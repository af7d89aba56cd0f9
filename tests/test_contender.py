"""The protocol of one scheduler: what is trained, in which order, with which seeds, and what is made of the results."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from lrbench import plan
from lrbench.contender import Contender
from lrbench.results import Curve, TrialResult
from lrbench.spec import ConfigError, Machine, TrialSpec
from tests.conftest import SMALL

MACHINE = Machine(device="cpu", gpus=0, cores=2, bfloat16=False)
Accuracy = Callable[[TrialSpec], float]


def _contender(folder: Path, *overrides: str) -> Contender:
    planned = plan.make(["sweep=smoke", *SMALL, "schedulers=[rex]", f"out={folder}", *overrides])
    planned.folder.mkdir(parents=True, exist_ok=True)
    (name,) = planned.settings.schedulers
    return Contender(planned.configs[name], planned.settings, MACHINE, 2, planned.studies([])[name])


def _result(spec: TrialSpec, accuracies: list[float], state: Literal["finished", "pruned", "diverged"] = "finished") -> TrialResult:
    steps = list(range(1, len(accuracies) + 1))
    metric = "test/accuracy" if spec.phase == "final" else "val/accuracy"
    curves = {metric: Curve(steps=steps, values=accuracies, times=steps)}
    return TrialResult(spec=spec, state=state, reason="", curves=curves, train_seconds=1.0, eval_seconds=0.0, environment={})


def _all(contender: Contender, accuracy: Accuracy) -> list[TrialSpec]:
    """Take what may start, last first, until there is nothing more."""
    trained, waiting = [], contender.ready()
    while waiting:
        spec = waiting.pop()
        contender.take(spec, _result(spec, [accuracy(spec)]))
        trained.append(spec)
        waiting += contender.ready()
    return trained


def _rate(spec: TrialSpec) -> float:
    return min(1.0, spec.optimizer.lr)


def test_final_runs_repeat_the_best_trial_over_seeds_of_their_own(tmp_path: Path) -> None:
    trained = _all(contender := _contender(tmp_path, "n_trials=6", "final_seeds=3"), _rate)
    search, final = ([spec for spec in trained if spec.phase == phase] for phase in ("search", "final"))
    best = max(search, key=_rate)
    assert [spec.trial for spec in final] == [best.trial] * 3 and {spec.optimizer.lr for spec in final} == {best.optimizer.lr}
    assert {spec.seed for spec in search} == {0} and {spec.seed for spec in final} == {1000, 1001, 1002}
    found = contender.best()
    assert found is not None and found.spec == best


def test_the_score_of_a_trial_is_the_mean_over_its_seeds(tmp_path: Path) -> None:
    """Trial 1 is the best with seed 0, trial 2 on average."""
    scores = {(1, 0): 0.9, (1, 1): 0.1, (2, 0): 0.6, (2, 1): 0.7}
    contender = _contender(tmp_path, "n_trials=3", "search_seeds=2", "final_seeds=1")
    trained = _all(contender, lambda spec: scores.get((spec.trial or 0, spec.seed), 0.3))
    assert sorted((spec.trial or 0, spec.seed) for spec in trained if spec.phase == "search") == [
        (t, s) for t in range(3) for s in range(2)
    ]
    assert [spec.trial for spec in trained if spec.phase == "final"] == [2]
    told = contender.study._study.get_trials()
    assert [trial.value for trial in told] == pytest.approx([0.3, 0.5, 0.65])


def test_a_point_is_not_trained_twice(tmp_path: Path) -> None:
    """Of nine points there are not thirty."""
    contender = _contender(tmp_path, "schedulers=[cosine_warm_restarts]", "~optimizer.search.lr", "n_trials=30", "final_seeds=1")
    trained = _all(contender, lambda spec: len(str(spec.sampled)) % 7 / 7 + float(spec.sampled["scheduler.knobs.cycles"]) / 100)
    search = [str(spec.sampled) for spec in trained if spec.phase == "search"]
    assert len(set(search)) == len(search) <= 9
    assert len(search) + len(contender.spared) == 30
    values = {str(trial.params): trial.value for trial in contender.study._study.get_trials()}
    assert all(values[str(trial.params)] == trial.value for trial in contender.study._study.get_trials())
    assert len(values) == len(search)


@pytest.mark.parametrize("best_is_default", [True, False])
def test_the_default_can_be_run_beside_the_best(tmp_path: Path, best_is_default: bool) -> None:
    contender = _contender(tmp_path, "n_trials=3", "final_seeds=2", "final_default=true")
    trained = _all(contender, lambda spec: float((spec.trial == 0) == best_is_default) * (1 - (spec.trial or 0) / 10))
    final = [(spec.trial, spec.seed) for spec in trained if spec.phase == "final"]
    assert sorted(final) == ([(0, 1000), (0, 1001)] if best_is_default else [(0, 1000), (0, 1001), (1, 1000), (1, 1001)])
    assert len(contender.spared) == (2 if best_is_default else 0)


def test_the_same_trials_whatever_ends_first(tmp_path: Path) -> None:
    forward, backward = (_contender(tmp_path / name, "n_trials=8", "final_seeds=1", "pending_trials=3") for name in ("a", "b"))
    trained = _all(backward, _rate)
    waiting, other = forward.ready(), []
    while waiting:
        spec = waiting.pop(0)
        forward.take(spec, _result(spec, [_rate(spec)]))
        other.append(spec)
        waiting += forward.ready()
    assert sorted(map(TrialSpec.key, trained)) == sorted(map(TrialSpec.key, other))


def test_a_failed_run_is_no_candidate(tmp_path: Path) -> None:
    contender, waiting = _contender(tmp_path, "n_trials=4", "final_seeds=1"), []
    waiting = contender.ready()
    final = []
    while waiting:
        spec = waiting.pop()
        final += [spec] if spec.phase == "final" else []
        contender.take(spec, None if spec.trial in (0, 1) else _result(spec, [0.5]))
        waiting += contender.ready()
    assert [spec.trial for spec in final] == [2]


def test_the_median_pruner_stops_what_is_behind(tmp_path: Path) -> None:
    overrides = ("pruner=median", "pruner.args.n_startup_trials=2", "pending_trials=1", "n_trials=5", "final_seeds=1")
    contender = _contender(tmp_path, *overrides)
    for number, accuracies in enumerate([[0.3, 0.6], [0.4, 0.5]]):
        (spec,) = contender.ready()
        watch = contender.watch(spec)
        assert watch is not None and watch(1, accuracies[0])
        contender.take(spec, _result(spec, accuracies))
        assert spec.trial == number
    (spec,) = contender.ready()
    for accuracy, goes_on in ((0.36, True), (0.34, False)):  # the median of the others is 0.35
        watch = contender.watch(spec)
        assert watch is not None and watch(1, accuracy) == goes_on
    contender.take(spec, _result(spec, [0.34], "pruned"))
    contender.ready()
    trials = contender.study._study.get_trials()
    assert [trial.state.name for trial in trials][:3] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert trials[0].intermediate_values == {1: 0.3, 2: 0.6}
    found = contender.best()
    assert found is not None and found.spec.trial == 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["pruner=median", "search_seeds=2"], "pruner=median search_seeds=2: a pruner stops runs of one seed only"),
        (["pruner._target_=optuna.pruners.No"], "a class of optuna.pruners is expected"),
        (["pruner=median", "pruner.args.n_startup_trials=-1"], "pruner=median"),
        (["search_seeds=1001"], "search_seeds=1001: at most 1000"),
    ],
)
def test_protocols_that_cannot_be(tmp_path: Path, override: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _contender(tmp_path, *override)


@pytest.mark.parametrize("name", ["none", "median", "percentile", "successive_halving", "hyperband", "threshold", "patient"])
def test_every_pruner_decides(tmp_path: Path, name: str) -> None:
    contender = _contender(tmp_path, f"pruner={name}", "n_trials=6", "final_seeds=1")
    trained = _all(contender, _rate)
    watch = contender.watch(trained[0])
    assert (watch is None) == (name == "none")
    if watch is not None:
        assert isinstance(watch(1, 0.5), bool)
