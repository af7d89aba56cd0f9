from collections.abc import Callable

import pytest

from lrbench.results.result import Points, TrialResult
from lrbench.spec import TrialSpec
from lrbench.tracking.run_fields import parent_tags, result_points, run_params, run_tags
from lrbench.training import progress
from lrbench.training.train import train_one

Spec = Callable[..., TrialSpec]


def test_tags_of_a_single_run(result: TrialResult) -> None:
    assert run_tags(result.spec) == {
        "lrbench.key": result.spec.key(),
        "mlflow.runName": "cosine final seed 3",
        "scheduler": "cosine",
        "phase": "final",
        "search": "",
        "seed": "3",
        "trial": "",
        "state": "running",
    }


def test_tags_of_a_trial(result: TrialResult) -> None:
    first = result.spec.model_copy(update={"trial": 0, "phase": "search"})
    tags = run_tags(first)
    assert (tags["mlflow.runName"], tags["phase"], tags["trial"]) == ("cosine search trial 0 seed 3", "search", "0")


def test_tags_of_a_parent() -> None:
    assert parent_tags("cosine") == {
        "lrbench.key": "scheduler cosine",
        "mlflow.runName": "cosine",
        "scheduler": "cosine",
        "phase": "sweep",
    }


def test_parameters_include_the_sampled_values(result: TrialResult) -> None:
    sampled = result.spec.model_copy(update={"sampled": {"optimizer.lr": 0.125, "scheduler.knobs.floor": 0.1}})
    params = run_params(sampled)
    assert (params["scheduler"], params["seed"], params["train_images"]) == ("cosine", 3, 640)
    assert (params["optimizer.lr"], params["scheduler.knobs.floor"]) == (0.125, 0.1)


def test_points_are_step_value_and_time(result: TrialResult) -> None:
    assert result_points(result) == {
        "lr": [(0, 0.5, 10), (1, 0.25, 20), (2, 0.0, 30)],
        "val/accuracy": [(3, 0.75, 31)],
    }


def test_the_points_reported_while_a_run_trains_are_those_of_its_curves(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LIVE_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LIVE_EVERY_SECONDS", 0.0)
    reports: list[Points] = []
    result = train_one(spec("train.epochs=2"), lambda progress: reports.append(progress.points))
    grown: Points = {}
    for points in reports:
        for name, metric in points.items():
            grown.setdefault(name, []).extend(metric)
    assert len([points for points in reports if points]) >= 4
    assert grown == {name: metric for name, metric in result_points(result).items() if not name.startswith("test/")}


def test_a_short_run_reports_no_points_while_it_trains(spec: Spec) -> None:
    reports: list[Points] = []
    train_one(spec(), lambda progress: reports.append(progress.points))
    assert not any(reports)
