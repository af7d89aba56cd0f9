from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lrbench.search.space import Parameter
from lrbench.spec import Value
from tests.search.studies import RANDOM, TPE, Search, Values, ask_and_tell, open_study, score, search_of

OTHER: Values = {"optimizer.lr": 0.25, "scheduler.knobs.cycles": 3, "scheduler.args.T_mult": 1}


def test_the_first_trial_is_the_default_configuration(tmp_path: Path, search: Search) -> None:
    assert ask_and_tell(tmp_path / "j", search, count=1) == [search[1]]


@pytest.mark.parametrize("sampler", [TPE, RANDOM], ids=["tpe", "random"])
def test_trials_follow_the_seed_and_differ(tmp_path: Path, search: Search, sampler: Mapping[str, Any]) -> None:
    first, same_seed, other_seed = (
        ask_and_tell(tmp_path / f"j{number}", search, count=8, sampler=sampler, seed=number // 2) for number in range(3)
    )
    assert first == same_seed
    assert first[0] == other_seed[0]
    assert first[1:] != other_seed[1:]
    assert len({str(values) for values in first}) == 8


def test_a_study_resumes(tmp_path: Path, search: Search) -> None:
    whole = ask_and_tell(tmp_path / "whole", search, count=8)
    ask_and_tell(tmp_path / "parts", search, count=5)
    assert ask_and_tell(tmp_path / "parts", search, count=8) == whole


def test_a_trial_that_was_asked_and_not_told_keeps_its_values(tmp_path: Path, search: Search) -> None:
    before = open_study(tmp_path / "j", search).ask(0)
    study = open_study(tmp_path / "j", search)
    assert study.ask(0) == before
    study.tell(0, None)
    assert study.ask(1)


def test_integers_stay_integers(tmp_path: Path, search: Search) -> None:
    for values in ask_and_tell(tmp_path / "j", search, count=6):
        assert isinstance(values["scheduler.knobs.cycles"], int)


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("suggestions", [0, 1, 2])
def test_a_trial_that_was_drawn_in_part_is_completed(
    tmp_path: Path, suggestions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_of("cosine_decaying_restarts")
    told = ask_and_tell(tmp_path / "whole", search, 4)
    assert ask_and_tell(tmp_path / "parts", search, 4) == told
    whole = open_study(tmp_path / "whole", search).ask(4)
    suggest, left = Parameter.suggest, iter(range(suggestions))

    def killed(parameter: Parameter, trial: Any, key: str) -> Value:
        if next(left, None) is None:
            raise _KilledError
        return suggest(parameter, trial, key)

    with monkeypatch.context() as patched:
        patched.setattr(Parameter, "suggest", killed)
        with pytest.raises(_KilledError):
            open_study(tmp_path / "parts", search).ask(4)
    resumed = open_study(tmp_path / "parts", search, known=dict(enumerate(told)))
    for number, values in enumerate(told):
        assert resumed.ask(number) == values
        resumed.tell(number, score(values))
    assert resumed.ask(4) == whole
    resumed.tell(4, 0.5)


@pytest.mark.parametrize("sampler", [TPE, RANDOM], ids=["tpe", "random"])
def test_a_missing_journal_is_rebuilt_from_the_runs(tmp_path: Path, search: Search, sampler: Mapping[str, Any]) -> None:
    whole = ask_and_tell(tmp_path / "j", search, count=8, sampler=sampler)
    (tmp_path / "j").unlink()
    study = open_study(tmp_path / "j", search, sampler, known=dict(enumerate(whole[:5])))
    for number in range(8):
        assert study.ask(number) == whole[number]
        study.tell(number, score(whole[number]))


def test_a_trial_with_runs_is_never_sampled_again(tmp_path: Path, search: Search) -> None:
    """Another version of Optuna may sample other values."""
    assert open_study(tmp_path / "sampled", search).ask(0) == search[1]
    study = open_study(tmp_path / "j", search, known={1: OTHER})
    study.ask(0)
    assert study.ask(1) == OTHER


def test_a_failed_trial_is_told_again_when_it_has_a_result(tmp_path: Path, search: Search) -> None:
    whole = ask_and_tell(tmp_path / "whole", search, count=6)
    study = open_study(tmp_path / "j", search)
    for number in range(3):
        study.ask(number)
        study.tell(number, None if number == 1 else score(whole[number]))
    assert ask_and_tell(tmp_path / "j", search, count=6) == whole


def test_trials_are_listed_with_their_scores(tmp_path: Path, search: Search) -> None:
    study = open_study(tmp_path / "j", search)
    assert study.trials() == []
    for number, accuracy in enumerate([0.5, None]):
        study.ask(number)
        study.tell(number, accuracy)
    study.ask(2)
    assert [(trial.state.name, trial.value) for trial in study.trials()] == [
        ("COMPLETE", 0.5),
        ("FAIL", None),
        ("RUNNING", None),
    ]
    study.trials().clear()
    assert len(study.trials()) == 3


def test_a_monitor_knows_only_the_trials_that_were_finished(tmp_path: Path, search: Search) -> None:
    pruner = {"name": "median", "_target_": "optuna.pruners.MedianPruner", "args": {"n_startup_trials": 1}}
    study = open_study(tmp_path / "j", search)
    for number, accuracy in enumerate([0.4, 0.8]):
        study.ask(number)
        study.tell(number, accuracy, evaluations=[accuracy, accuracy])
    study.ask(2)
    assert study.pruning_monitor(pruner, finished=0)(1, 0.1)
    assert study.pruning_monitor(pruner, finished=1)(1, 0.5)
    assert not study.pruning_monitor(pruner, finished=2)(1, 0.5)  # the median of 0.4 and 0.8 is 0.6
