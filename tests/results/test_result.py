"""TrialResult: its last values, its defaults for older results, and thinned curves."""

import itertools
import json
import math

import pytest

from lrbench.results.result import MAX_POINTS, Points, Progress, TrialResult, thinned
from lrbench.spec import TrialSpec
from tests.builders import Run, without_times
from tests.conftest import ROOT

OLDER = ROOT / "tests" / "results" / "lrbench_0_1.jsonl"  # three runs of the sweep quick


@pytest.mark.parametrize(("state", "accuracy"), [("finished", 0.6), ("diverged", 0.1), ("pruned", 0.1)])
def test_a_run_that_did_not_finish_counts_with_chance_accuracy(run: Run, state: str, accuracy: float) -> None:
    assert run(validation=[0.5, 0.6], state=state).last("val/accuracy") == accuracy


def test_chance_accuracy_depends_on_the_classes(run: Run) -> None:
    result = run(state="diverged").model_copy(update={"classes": 4})
    assert result.last("test/accuracy") == result.chance_accuracy == 0.25


def test_a_metric_that_a_run_lacks(run: Run) -> None:
    assert run(test=0.7).last("val/accuracy") == 0.1
    assert math.isnan(run(test=0.7).last("val/loss"))


def test_older_results_have_ten_classes(run: Run) -> None:
    plain = json.loads(run(test=0.7).model_dump_json(by_alias=True))
    del plain["classes"]
    assert TrialResult.model_validate_json(json.dumps(plain)).classes == 10


def test_without_times_two_repeats_are_equal(run: Run) -> None:
    result = run(validation=[0.5, 0.6], test=0.7)
    curves = {
        name: curve.model_copy(update={"times": [time + 5 for time in curve.times]})
        for name, curve in result.curves.items()
    }
    repeat = result.model_copy(update={"curves": curves, "train_seconds": 9.0, "eval_seconds": 2.0})
    assert repeat != result
    assert without_times(repeat) == without_times(result)
    assert without_times(run(validation=[0.5, 0.7], test=0.7)) != without_times(result)


@pytest.mark.parametrize("points", [{}, {"lr": [(0, 0.5, 10), (1, 0.25, 20)], "val/accuracy": [(2, 0.75, 30)]}])
def test_progress_goes_through_json_unchanged(points: Points) -> None:
    progress = Progress(epoch=0.5, lr=0.25, accuracy=None, points=points)
    assert Progress.from_json(json.loads(json.dumps(progress.as_json()))) == progress


@pytest.mark.parametrize("points", [0, 1, 4, MAX_POINTS])
def test_short_curves_keep_all_points(points: int) -> None:
    assert thinned(points) == list(range(points))


@pytest.mark.parametrize("points", [MAX_POINTS + 1, 2 * MAX_POINTS, 100_000, 1_234_567])
def test_long_curves_keep_equal_distances_and_both_ends(points: int) -> None:
    kept = thinned(points)
    assert len(kept) == MAX_POINTS
    assert (kept[0], kept[-1]) == (0, points - 1)
    gaps = {later - earlier for earlier, later in itertools.pairwise(kept)}
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (0, "chained-final-t0002-s1000-f8019343de"),
        (1, "cyclic-search-t0002-s0-6f1de1660c"),
        (2, "sequential-search-t0002-s0-848b2e7a4e"),
    ],
)
def test_runs_of_lrbench_0_1_keep_their_keys(line: int, key: str) -> None:
    """Their specs do not name the target of the data."""
    lines = OLDER.read_text(encoding="utf-8").splitlines()
    spec = json.loads(lines[line])["spec"]
    assert not {"_target_", "args"} & spec["data"].keys()
    assert TrialSpec.model_validate(spec).key() == key
