"""The plan of a sweep: its runs, and the mistakes that it finds before anything starts."""

import pytest

from lrbench.orchestration.plan import describe_runs, make_plan
from lrbench.spec import ConfigError, DeviceInfo
from tests.conftest import SMALL

SMOKE = ("sweep=smoke", *SMALL)


def test_the_runs_in_words() -> None:
    plan = make_plan([*SMOKE, "schedulers=[rex,cosine]", "n_trials=3", "final_seeds=2"])
    text = describe_runs(plan, DeviceInfo(device="cpu", gpus=0, cores=2, bfloat16=False), 2)
    assert text.startswith("6 search runs of 20 steps and 4 final runs of 22 steps, 2 at once on cpu in float32, into ")
    assert text.endswith("/smoke")
    assert plan.steps == 6 * 20 + 4 * 22


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scheduler=rex", r"scheduler=rex: must be schedulers=\[…\]"),
        ("name=a/b", "name=a/b: must be a folder name without / and without a leading dot, such as name=quick-2"),
        ("name=.hidden", "must be a folder name without / and without a leading dot, such as name=quick-2"),
        ("final_train_images=9999", "final_train_images=9999: must be at most 640"),
        ("final_train_images=8", "train.batch_size=32"),
        ("data.holdout_images=0", "data.holdout_images=0: must be at least 1"),
        ("n_trials=0", "n_trials=0"),
    ],
)
def test_invalid_plans(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan([*SMOKE, override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (["pruner=median", "search_seeds=2"], "pruner=median search_seeds=2: search_seeds must be 1"),
        (["pruner._target_=optuna.pruners.No"], "_target_=optuna.pruners.No: must be a class"),
        (["pruner=median", "pruner.args.n_startup_trials=-1"], "pruner=median"),
        (["search_seeds=501"], "search_seeds=501: must be at most 500"),
        (["final_seeds=1001"], "final_seeds=1001: must be at most 1000"),
        (["confirm=1"], "confirm=1: must be 0, or at least 2"),
        (["searches=0"], "searches=0"),
        (["report.delta=0"], "report.delta=0: must be greater than 0"),
    ],
)
def test_invalid_settings(override: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan([*SMOKE, *override])
