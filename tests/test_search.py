from collections.abc import Callable
from pathlib import Path

import pytest

from lrbench import config, search
from lrbench.config import ConfigError
from tests.conftest import SMALL

TPE = {"name": "tpe", "_target_": "optuna.samplers.TPESampler", "args": {"n_startup_trials": 3}}
RANDOM = {"name": "random", "_target_": "optuna.samplers.RandomSampler", "args": {}}
Ask = Callable[..., list[dict[str, search.Value]]]


@pytest.fixture
def cfg_space() -> tuple[search.Space, dict[str, search.Value]]:
    cfg = config.load("config", [*SMALL, "scheduler=cosine_warm_restarts"])
    return search.space(cfg), {"optimizer.lr": 0.5, "scheduler.knobs.cycles": 2, "scheduler.args.T_mult": 2}


def _ask(
    path: Path, space: search.Space, defaults: dict[str, search.Value], count: int, sampler: object = TPE, seed: int = 0
) -> list[object]:
    """Return the values of `count` trials, each told the peak rate as its accuracy."""
    study = search.Study(path, "s", space, defaults, sampler, seed)  # type: ignore[arg-type]
    asked = []
    for number in range(count):
        values = study.ask(number)
        study.tell(number, float(values["optimizer.lr"]))
        asked.append(values)
    return asked  # type: ignore[return-value]


def test_first_trial_is_the_config_as_it_stands(tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]]) -> None:
    assert _ask(tmp_path / "j", *cfg_space, count=1) == [cfg_space[1]]


@pytest.mark.parametrize("sampler", [TPE, RANDOM], ids=["tpe", "random"])
def test_trials_follow_the_seed_and_differ(
    tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]], sampler: object
) -> None:
    one, again, other = (_ask(tmp_path / f"j{n}", *cfg_space, count=8, sampler=sampler, seed=n // 2) for n in range(3))
    assert one == again
    assert one[0] == other[0]
    assert one[1:] != other[1:]
    assert len({str(values) for values in one}) == 8


def test_a_study_goes_on_where_it_was(tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]]) -> None:
    whole = _ask(tmp_path / "whole", *cfg_space, count=8)
    _ask(tmp_path / "parts", *cfg_space, count=5)
    assert _ask(tmp_path / "parts", *cfg_space, count=8) == whole


def test_a_trial_that_was_asked_but_not_told_is_asked_again(
    tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]]
) -> None:
    before = search.Study(tmp_path / "j", "s", *cfg_space, TPE, 0).ask(0)
    study = search.Study(tmp_path / "j", "s", *cfg_space, TPE, 0)
    assert study.ask(0) == before
    study.tell(0, None)
    assert study.ask(1)


def test_whole_numbers_stay_whole(tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]]) -> None:
    for values in _ask(tmp_path / "j", *cfg_space, count=6):
        assert isinstance(values["scheduler.knobs.cycles"], int)  # type: ignore[index]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=50", "optimizer.lr=50: outside of what is searched, 0.05 to 2 (log); change optimizer.search.lr too"),
        ("optimizer.search.lr={low: 1.0, high: 0.1}", "optimizer.search.lr"),
        ("optimizer.search.lr={low: 1.0}", "optimizer.lr=0.5: outside of what is searched, 1 to 2 (log)"),
        ("optimizer.search.lr=3", "{low: …, high: …}"),
        ("optimizer.search.lr={low: 0.1, high: 1.0, step: 0.1}", "optimizer.search.lr.step"),
        ("optimizer.search.lr={low: -1.0, high: 1.0, log: true}", "optimizer.search.lr"),
    ],
)
def test_a_space_that_is_none(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        search.space(config.load("config", [*SMALL, override]))
    assert message in str(raised.value)
