import re
from collections.abc import Sequence

import numpy as np
import pytest

from lrbench.analysis.ranking import rank_schedulers
from lrbench.config.compose import load_config, parse_spec
from lrbench.orchestration.verify import verify_row
from lrbench.results.result import TrialResult
from lrbench.spec import ConfigError
from lrbench.training.device import resolve_device
from lrbench.training.train import train_one
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def trained() -> list[TrialResult]:
    """A search run and two final runs, really trained."""
    cfg = load_config("config", [*SMALL, "scheduler=cosine", "train.epochs=0.5"])
    specs = [
        parse_spec(cfg, phase=phase, trial=0, seed=seed)
        for phase, seed in (("search", 0), ("final", 1000), ("final", 1001))
    ]
    return [train_one(spec.resolved(resolve_device("cpu"))) for spec in specs]


def test_verified_runs_are_identical(trained: list[TrialResult]) -> None:
    said: list[str] = []
    assert verify_row(rank_schedulers(trained), "cosine", said.append)
    assert sum("identical" in line for line in said) == 3
    assert said[-1] == "identical: the row holds, to the last digit"


def test_what_is_not_identical_may_lie_in_the_interval(trained: list[TrialResult]) -> None:
    assert _verified(trained, "cosine:1000", (0.002, -0.002)) == (
        True,
        "inside the interval that contains 95 % of such runs",
    )
    assert _verified(trained, "cosine", (0.01, 0.0)) == (True, "inside the interval that contains 95 % of such repeats")


def test_what_lies_outside_does_not_hold(trained: list[TrialResult]) -> None:
    off = 0.5 - np.array([each.last("test/accuracy") for each in trained[1:]])  # both are said to have had 0.5, nearly
    assert _verified(trained, "cosine", (off[0], off[1] + 1e-6)) == (
        False,
        "outside the interval that contains 95 % of such repeats",
    )


def test_the_luck_of_searches_does_not_excuse_a_difference(trained: list[TrialResult]) -> None:
    """The second search is said to be 30 points better, so the interval over searches is wide."""
    runs = [*trained, *(_in_second_search(result) for result in trained)]
    ranking = rank_schedulers([_recorded(result) for result in runs])
    (row,) = ranking.rows
    assert row.mean.half_width > 1.0
    for wanted, place in (("cosine", "95 % of such repeats"), ("cosine:3000", "that contains 95 % of such runs")):
        said: list[str] = []
        assert not verify_row(ranking, wanted, said.append)
        assert "outside" in said[-1] and place in said[-1]


def _in_second_search(result: TrialResult) -> TrialResult:
    spec = result.spec.model_copy(update={"search": 1, "seed": result.spec.seed + 2000})
    return result.model_copy(update={"spec": spec})


def _recorded(result: TrialResult) -> TrialResult:
    """Return a final run with a recorded test accuracy near 0.6, or near 0.9 in search 1."""
    if result.spec.phase != "final":
        return result
    value = 0.6 + 0.3 * result.spec.search + 0.001 * (result.spec.seed % 2)
    return _with_test_accuracy(result, value)


def _with_test_accuracy(result: TrialResult, value: float) -> TrialResult:
    curve = result.curves["test/accuracy"]
    moved = curve.model_copy(update={"values": [value]})
    return result.model_copy(update={"curves": {**result.curves, "test/accuracy": moved}})


def _verified(trained: Sequence[TrialResult], wanted: str, changes: Sequence[float]) -> tuple[bool, str]:
    """Verify after the recorded test accuracies have been changed by so much."""
    search, *final = trained
    changed = []
    for each, change in zip(final, changes, strict=True):
        changed.append(_with_test_accuracy(each, each.last("test/accuracy") + float(change)))
    said: list[str] = []
    held = verify_row(rank_schedulers([search, *changed]), wanted, said.append)
    found = re.search(r"% is ((?:inside|outside) .+?), ", said[-1])
    assert found, said
    return held, found[1]


def test_verify_refuses_what_it_cannot_train(trained: list[TrialResult]) -> None:
    for wanted, message in (("cosin", "did you mean cosine"), ("cosine:7", "the seed must be one of 1000, 1001")):
        with pytest.raises(ConfigError, match=message):
            verify_row(rank_schedulers(trained), wanted, print)
    search, final, _ = trained
    foreign = final.spec.model_copy(update={"model": final.spec.model.model_copy(update={"target": "os.system"})})
    with pytest.raises(ConfigError, match=r"model\._target_=os\.system"):
        verify_row(rank_schedulers([search, final.model_copy(update={"spec": foreign})]), "cosine", print)


def test_all_targets_are_checked_before_any_training(trained: list[TrialResult]) -> None:
    search, first, second = trained
    foreign = second.spec.model_copy(update={"model": second.spec.model.model_copy(update={"target": "os.system"})})
    lines: list[str] = []
    ranking = rank_schedulers([search, first, second.model_copy(update={"spec": foreign})])
    with pytest.raises(ConfigError, match=r"model\._target_=os\.system"):
        verify_row(ranking, "cosine", lines.append)
    assert lines == []
