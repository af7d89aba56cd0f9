from pathlib import Path

import pytest

from lrbench.search.importance import importances
from tests.search.studies import RANDOM, Search, ask_and_tell, open_study


def test_the_hyperparameter_that_makes_the_score_is_the_most_important(tmp_path: Path, search: Search) -> None:
    """The score of a trial is its peak rate."""
    ask_and_tell(tmp_path / "j", search, count=30, sampler=RANDOM)
    study = open_study(tmp_path / "j", search, RANDOM)
    by_key = importances(search[0], study.scored_trials())
    assert next(iter(by_key)) == "optimizer.lr" and by_key["optimizer.lr"] > 0.5
    assert sum(by_key.values()) == pytest.approx(1)


@pytest.mark.parametrize("scores", [[0.1] * 12, list(range(9))], ids=["equal scores", "nine trials"])
def test_no_importances_from_too_few_or_equal_scores(tmp_path: Path, search: Search, scores: list[float]) -> None:
    study = open_study(tmp_path / "j", search, RANDOM)
    for number, accuracy in enumerate(scores):
        study.ask(number)
        study.tell(number, accuracy)
    assert importances(search[0], study.scored_trials()) == {}
