import pytest

from lrbench.config.compose import group_options
from lrbench.config.schedulers import configs_of_curves, load_each, scheduler_names, without_scheduler_keys
from lrbench.orchestration.plan import make_plan
from lrbench.spec import ConfigError
from tests.conftest import SMALL


@pytest.mark.parametrize(
    ("schedulers", "names"),
    [("cosine", ["cosine"]), (["rex", "cosine"], ["rex", "cosine"]), (["rex", "rex"], ["rex"])],
)
def test_names_are_one_or_a_list(schedulers: object, names: list[str]) -> None:
    assert scheduler_names(schedulers) == names


def test_all_names() -> None:
    assert scheduler_names("all") == group_options("scheduler")


@pytest.mark.parametrize(
    ("schedulers", "message"),
    [
        ("cosin", "schedulers=cosin: unknown; did you mean cosine"),
        (["rex", "cosin"], "schedulers=cosin: unknown; did you mean cosine"),
        (None, "schedulers=None: unknown"),
        ([], "schedulers=[]: must name at least one scheduler. Allowed: chained, constant"),
    ],
)
def test_names_that_are_unknown(schedulers: object, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        scheduler_names(schedulers)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["schedulers=cosine"], ["cosine"]),
        (["sweep=cifar10", "schedulers=[rex,cosine]"], ["rex", "cosine"]),
        pytest.param(["schedulers=all"], None, marks=pytest.mark.slow),
    ],
)
def test_schedulers_of_a_sweep_are_one_or_a_list_or_all(overrides: list[str], names: list[str] | None) -> None:
    assert make_plan(overrides).settings.schedulers == (names or group_options("scheduler"))


def test_keys_of_one_scheduler() -> None:
    given = ["scheduler.args.beta=1", "+scheduler.x=1", "~scheduler.y", "scheduler=rex", "seed=1", "schedulers=[rex]"]
    assert without_scheduler_keys(given) == ["scheduler=rex", "seed=1", "schedulers=[rex]"]


def test_an_override_must_fit_every_scheduler() -> None:
    configs = load_each("config", [*SMALL, "seed=3"], ["rex", "cosine"])
    assert {name: (cfg.scheduler.name, cfg.seed) for name, cfg in configs.items()} == {
        "rex": ("rex", 3),
        "cosine": ("cosine", 3),
    }
    with pytest.raises(ConfigError, match=r"^scheduler=cosine: unknown key scheduler\.args\.beta"):
        load_each("config", [*SMALL, "scheduler.args.beta=0.1"], ["rex", "cosine"])
    with pytest.raises(ConfigError, match=r"^unknown key scheduler\.args\.beta"):
        load_each("config", [*SMALL, "scheduler.args.beta=0.1"], ["cosine"])


def test_configs_of_curves() -> None:
    assert list(configs_of_curves(["scheduler=rex", "scheduler.args.beta=0.5"])) == ["rex"]
    assert list(configs_of_curves(["schedulers=[rex,cosine]"])) == ["rex", "cosine"]
    with pytest.raises(ConfigError, match=r"^scheduler=rex and schedulers=cosine: must not both be given"):
        configs_of_curves(["scheduler=rex", "schedulers=cosine"])
