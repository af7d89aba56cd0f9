"""The folder of a sweep: who may write into it, and with which config."""

from pathlib import Path

import filelock
import pytest
import yaml

from lrbench.orchestration.folder import LOCK, check_n_trials, check_same_config, locked_folder, write_config
from lrbench.orchestration.plan import Plan, make_plan
from lrbench.spec import NEWER_SETTINGS, ConfigError
from tests.builders import Run
from tests.conftest import SMALL


def _plan(folder: Path, *overrides: str) -> Plan:
    return make_plan(["sweep=smoke", *SMALL, "schedulers=[rex,cosine]", f"out={folder}", *overrides])


@pytest.fixture
def started(tmp_path: Path) -> Path:
    """The config of a sweep that was started."""
    plan = _plan(tmp_path)
    with locked_folder(plan):
        write_config(plan)
    return plan.folder / "config.yaml"


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["schedulers=[linear]"],
        ["n_trials=9", "final_seeds=9", "final_default=true"],
        ["executor=inline", "tracking.uri=sqlite:///x.db", "allow=[mine]", "data.root=/elsewhere"],
    ],
)
def test_a_sweep_may_be_started_again_with(started: Path, overrides: list[str]) -> None:
    check_same_config(_plan(started.parents[1], *overrides))


def test_fewer_trials_than_in_the_folder_are_refused(run: Run, tmp_path: Path) -> None:
    """The report would choose among all trials, and the sweep among some of them."""
    results = [run("rex", "search", trial, 0, validation=[0.5]) for trial in (0, 3)]
    check_n_trials(_plan(tmp_path, "n_trials=4"), results)
    check_n_trials(_plan(tmp_path, "n_trials=1", "schedulers=[linear]"), results)
    with pytest.raises(ConfigError, match=r"n_trials=3: must be at least 4, the trials that rex has in .*smoke"):
        check_n_trials(_plan(tmp_path, "n_trials=3"), results)


def test_a_sweep_of_lrbench_0_1_may_be_started_again(started: Path) -> None:
    """Its config lacks the keys that are newer."""
    config = yaml.safe_load(started.read_text())
    for key in NEWER_SETTINGS:
        section, _, name = key.rpartition(".")
        node = config
        for part in section.split("."):
            node = node[part]
        del node[name]
    del config["data"]["_target_"], config["data"]["args"]
    started.write_text(yaml.safe_dump(config))
    check_same_config(_plan(started.parents[1]))
    with pytest.raises(ConfigError, match=r"train.average: none in the folder, ema now"):
        check_same_config(_plan(started.parents[1], "train.average=ema"))


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.epochs=3", "train.epochs: 1.0 in the folder, 3 now"),
        ("seed=1", "seed: 0 in the folder, 1 now"),
        ("pruner=median", "pruner.name: none in the folder, median now"),
        ("optimizer.lr=0.4", "optimizer.lr: 0.5 in the folder, 0.4 now"),
        ("data.flip=random", "data.flip: none in the folder, random now"),
    ],
)
def test_a_folder_refuses_runs_of_another_config(started: Path, override: str, line: str) -> None:
    with pytest.raises(ConfigError, match=r"smoke holds runs of another config:") as raised:
        check_same_config(_plan(started.parents[1], override))
    assert f"\n  {line}\n" in str(raised.value)
    assert "fresh=true" in str(raised.value)


def test_the_config_keeps_the_schedulers_of_earlier_starts(started: Path) -> None:
    plan = _plan(started.parents[1], "schedulers=[linear]")
    write_config(plan)
    assert set(yaml.safe_load(started.read_text())["scheduler"]) == {"rex", "cosine", "linear"}


def test_a_folder_of_lrbench_0_1_is_continued(started: Path) -> None:
    """Its config does not name the target and the arguments of the data."""
    config = yaml.safe_load(started.read_text())
    del config["data"]["_target_"], config["data"]["args"]
    started.write_text(yaml.safe_dump(config))
    check_same_config(_plan(started.parents[1]))
    with pytest.raises(
        ConfigError, match=r"data\._target_: lrbench.data.synthetic.source in the folder, mine.data now"
    ):
        check_same_config(_plan(started.parents[1], "data._target_=mine.data", "allow=[mine]"))
    write_config(_plan(started.parents[1]))
    assert yaml.safe_load(started.read_text())["data"]["_target_"] == "lrbench.data.synthetic.source"


def test_one_sweep_at_a_time_writes_into_a_folder(started: Path) -> None:
    plan = _plan(started.parents[1])
    with (
        locked_folder(plan),
        pytest.raises(ConfigError, match=r"another sweep is writing to this folder \(process \d+ on .* since "),
        locked_folder(plan),
    ):
        pass
    with (
        filelock.FileLock(plan.folder / LOCK),
        pytest.raises(ConfigError, match=r"another sweep is writing to this folder\. Wait until that sweep ends"),
        locked_folder(plan),
    ):
        pass


def test_fresh_moves_the_folder_aside(started: Path) -> None:
    for number in (1, 2):
        plan = _plan(started.parents[1], "fresh=true", f"seed={number}")
        with locked_folder(plan):
            assert not started.exists()
            write_config(plan)
    for name, seed in (("smoke.1", 0), ("smoke.2", 1), ("smoke", 2)):
        assert yaml.safe_load((started.parents[1] / name / "config.yaml").read_text())["seed"] == seed
