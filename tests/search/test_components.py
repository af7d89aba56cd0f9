"""Samplers and pruners of the config, also the user's own."""

from pathlib import Path

import optuna
import pytest

from lrbench.orchestration.plan import make_plan
from lrbench.search.components import build_pruner, build_sampler
from lrbench.spec import ConfigError
from tests.conftest import SMALL

MODULE = '''
import optuna


class MySampler(optuna.samplers.RandomSampler):
    """Draws the middle of every range."""

    def sample_independent(self, study, trial, name, distribution):
        return distribution.to_external_repr((distribution.low + distribution.high) / 2)


class MyPruner(optuna.pruners.BasePruner):
    """Stops every run after `n_warmup_steps` evaluations."""

    def __init__(self, n_startup_trials, n_warmup_steps, interval_steps):
        self.evaluations = n_warmup_steps

    def prune(self, study, trial):
        return len(trial.intermediate_values) > self.evaluations


class NoSeedSampler(optuna.samplers.BaseSampler):
    """Draws the lower end of every range, and takes no seed."""

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, name, distribution):
        return distribution.to_external_repr(distribution.to_internal_repr(distribution.low))


class NoSampler:
    """A class of another kind."""

    def __init__(self, **arguments):
        pass
'''
SMOKE = ("sweep=smoke", *SMALL, "schedulers=[rex]", "sampler=random", "pruner=median")
SAMPLER, PRUNER = "sampler._target_=lrbench_test_mine.MySampler", "pruner._target_=lrbench_test_mine.MyPruner"


@pytest.fixture
def _mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lrbench_test_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("_mine")
def test_a_sampler_of_the_user_draws_the_trials(tmp_path: Path) -> None:
    plan = make_plan([*SMOKE, SAMPLER, "startup_trials=1", "allow=[lrbench_test_mine]", f"out={tmp_path}"])
    plan.folder.mkdir()
    study = plan.studies([])["rex"]
    assert study.ask(0)["optimizer.lr"] == 0.5
    study.tell(0, 0.5)
    assert study.ask(1)["optimizer.lr"] == pytest.approx(1.025)  # of 0.05 to 2


@pytest.mark.usefixtures("_mine")
def test_a_sampler_without_a_seed() -> None:
    component = {"name": "mine", "_target_": "lrbench_test_mine.NoSeedSampler", "args": {}}
    study = optuna.create_study(sampler=build_sampler(component, 0, 0))
    assert study.ask().suggest_float("x", 1, 2) == 1


@pytest.mark.usefixtures("_mine")
def test_a_pruner_of_the_user_stops_runs(tmp_path: Path) -> None:
    overrides = [PRUNER, "pruner.args.n_warmup_steps=1", "allow=[lrbench_test_mine]", f"out={tmp_path}"]
    plan = make_plan([*SMOKE, *overrides])
    plan.folder.mkdir()
    monitor = plan.studies([])["rex"].pruning_monitor(plan.settings.pruner, 0)
    assert monitor(1, 0.5)
    assert not monitor(2, 0.5)


@pytest.mark.usefixtures("_mine")
@pytest.mark.parametrize("override", [SAMPLER, PRUNER])
def test_a_class_of_the_user_must_be_allowed(override: str) -> None:
    with pytest.raises(ConfigError, match=r"_target_=lrbench_test_mine\.My.*: must start with .* allow="):
        make_plan([*SMOKE, override])


@pytest.mark.usefixtures("_mine")
def test_a_class_must_be_a_sampler() -> None:
    with pytest.raises(ConfigError, match=r"sampler\._target_=.*NoSampler: must be a subclass of .*BaseSampler"):
        make_plan([*SMOKE, "sampler._target_=lrbench_test_mine.NoSampler", "allow=[lrbench_test_mine]"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampler._target_=optuna.samplers.No", "must be a class"),
        ("sampler._target_=optuna.samplers.intersection_search_space", "sampler=random: "),
        ("pruner._target_=optuna.pruners.No", "must be a class"),
        ("pruner.args.n_startup_trials=-1", "pruner=median: "),
    ],
)
def test_invalid_components(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan([*SMOKE, override])


def test_the_seed_of_a_sampler_depends_on_both_numbers() -> None:
    component = {"name": "random", "_target_": "optuna.samplers.RandomSampler", "args": {}}

    def draw(seed: int, number: int) -> float:
        study = optuna.create_study(sampler=build_sampler(component, seed, number))
        return study.ask().suggest_float("x", 0, 1)

    assert draw(0, 1) == draw(0, 1)
    assert len({draw(0, 0), draw(0, 1), draw(1, 0), draw(1, 1)}) == 4


def test_an_argument_that_the_class_does_not_take() -> None:
    component = {"name": "mine", "_target_": "optuna.samplers.RandomSampler", "args": {"colour": "red"}}
    with pytest.raises(ConfigError, match=r"sampler=mine: .*colour"):
        build_sampler(component, 0, 0)


def test_arguments_reach_the_pruner() -> None:
    component = {"name": "p", "_target_": "optuna.pruners.PercentilePruner", "args": {"percentile": 25.0}}
    assert isinstance(build_pruner(component), optuna.pruners.PercentilePruner)
