from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lrbench.config.compose import group_options, load_config, parse_spec
from lrbench.spec import ConfigError, TrialSpec
from tests.conftest import ROOT, SMALL

Spec = Callable[..., TrialSpec]


def test_the_command_line_changes_adds_and_deletes_keys() -> None:
    cfg = load_config(
        "config", [*SMALL, "optimizer.lr=0.25", "~optimizer.args.nesterov", "+optimizer.args.momentum=0.8"]
    )
    assert cfg.optimizer.lr == 0.25
    assert dict(cfg.optimizer.args) == {"momentum": 0.8}


def test_sampled_values_are_set_and_kept(spec: Spec) -> None:
    cfg = load_config("config", [*SMALL, "scheduler=one_cycle"])
    sampled = parse_spec(cfg, {"optimizer.lr": 0.125, "scheduler.args.pct_start": 0.5}, seed=7)
    assert sampled.optimizer.lr == sampled.scheduler.args["max_lr"] == 0.125
    assert sampled.scheduler.args["pct_start"] == 0.5
    assert sampled.seed == 7
    assert sampled.sampled == {"optimizer.lr": 0.125, "scheduler.args.pct_start": 0.5}
    assert cfg.optimizer.lr == 0.5


def test_a_spec_has_no_search_space_and_no_folder_of_the_machine(spec: Spec) -> None:
    parsed = spec("scheduler=sequence", "data.root=/somewhere")
    assert "search" not in parsed.model_dump_json(exclude={"search"})
    assert "somewhere" not in parsed.model_dump_json()


def test_an_interpolation_without_a_value_names_its_key_and_its_text(spec: Spec) -> None:
    with pytest.raises(ConfigError) as raised:
        spec("scheduler=multi_step", "scheduler.args.milestones=[1,${steps:1.5}]")
    assert str(raised.value) == (
        "scheduler.args.milestones[1]=${steps:1.5}: the fraction of the run must be between 0 and 1; got 1.5"
    )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "conf").glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_every_config_file(path: Path) -> None:
    """Opens with a sentence about itself, is named as its file, and composes."""
    text = path.read_text()
    assert text.startswith("# ")
    assert text.splitlines()[0].endswith(".") and len(text.splitlines()[0]) > 20
    assert yaml.safe_load(text)["name"] == path.stem
    group = path.parent.name
    root = "sweep" if group in ("sampler", "pruner", "executor") else "config"
    extra = ["optimizer.args.momentum=0.8"] if (group, path.stem) == ("optimizer", "sgd") else []
    parse_spec(load_config(root, [f"{group}={path.stem}", *extra]))


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "scheduler").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scheduler_file_has_its_parts(path: Path) -> None:
    node = yaml.safe_load(path.read_text())
    assert [key for key in node if key != "defaults"] == ["name", "_target_", "interval", "knobs", "args", "search"]


def test_options_of_a_group() -> None:
    assert {"cosine", "one_cycle"} <= set(group_options("scheduler"))
    assert group_options("optimizer.lr") == []
