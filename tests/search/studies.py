"""A small search, for the tests of this folder: the score of a trial is its peak rate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lrbench.config.compose import load_config
from lrbench.search.journal import open_journal
from lrbench.search.space import Space, search_space
from lrbench.search.study import Study
from lrbench.spec import Value
from tests.conftest import SMALL

Values = dict[str, Value]
Search = tuple[Space, Values]  # the space, and the values of the default configuration

TPE = {"name": "tpe", "_target_": "optuna.samplers.TPESampler", "args": {"n_startup_trials": 3}}
RANDOM = {"name": "random", "_target_": "optuna.samplers.RandomSampler", "args": {}}


def search_of(scheduler: str) -> Search:
    """Return the search of a scheduler."""
    cfg = load_config("config", [*SMALL, f"scheduler={scheduler}"])
    space = search_space(cfg)
    return space, {key: OmegaConf.select(cfg, key) for key in space}


def open_study(
    path: Path,
    search: Search,
    sampler: Mapping[str, Any] = TPE,
    seed: int = 0,
    known: Mapping[int, Values] | None = None,
) -> Study:
    """Open the study `s` in a journal. `known` has the values of trials that have runs."""
    space, default = search
    fixed = {0: default, **(known or {})}
    return Study(open_journal(path, {"s": space}, {"s": fixed}), "s", space, fixed, sampler, seed)


def ask_and_tell(
    path: Path, search: Search, count: int, sampler: Mapping[str, Any] = TPE, seed: int = 0
) -> list[Values]:
    """Return the values of `count` trials, each told before the next one is asked."""
    study = open_study(path, search, sampler, seed)
    asked = []
    for number in range(count):
        values = study.ask(number)
        study.tell(number, score(values))
        asked.append(values)
    return asked


def score(values: Values) -> float:
    """Return the peak rate."""
    return float(values["optimizer.lr"])
