import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import Field, PositiveInt

from lrbench.config.compose import group_options
from lrbench.spec import ConfigError, DeviceInfo, PlainData, TrialSpec, validated

ROOT = Path(__file__).parents[1]
MakeSpec = Callable[..., TrialSpec]


@pytest.mark.slow
def test_a_spec_goes_through_json_unchanged(spec: MakeSpec) -> None:
    for scheduler in group_options("scheduler"):
        before = spec(f"scheduler={scheduler}")
        assert TrialSpec.model_validate_json(before.model_dump_json(by_alias=True)) == before


def test_the_key_depends_on_everything_in_the_spec(spec: MakeSpec) -> None:
    changes = [[], ["seed=1"], ["train.epochs=2"], ["optimizer.lr=0.1"], ["optimizer.weight_decay=0"]]
    assert spec().key() == spec().key()
    assert len({spec(*change).key() for change in changes}) == len(changes)


def test_the_key_is_a_readable_file_name(spec: MakeSpec) -> None:
    single = spec("scheduler=cosine", "seed=3")
    trial = single.model_copy(update={"trial": 12, "phase": "search"})
    assert single.key().startswith("cosine-final-s3-")
    assert trial.key().startswith("cosine-search-t0012-s3-")


def test_a_run_of_lrbench_0_1_keeps_its_key(spec: MakeSpec) -> None:
    now = spec()
    old = now.model_dump(by_alias=True)
    for field in ("_target_", "args"):
        del old["data"][field]
    assert TrialSpec.model_validate(old) == now
    for name in ("graph", "compile", "test_views", "average"):
        del old["train"][name]
    del old["model"]["args"]["freeze_stem_bias"]
    assert TrialSpec.model_validate(old).key() == now.key()
    (*_, line) = (ROOT / "tests" / "results" / "lrbench_0_1.jsonl").read_text().splitlines()
    assert TrialSpec.model_validate(json.loads(line)["spec"]).key() == "sequential-search-t0002-s0-848b2e7a4e"
    other = now.data.model_copy(update={"target": "mine.data.source"})
    assert now.model_copy(update={"data": other}).key() != now.key()


@pytest.mark.parametrize(
    "change",
    [
        "train.graph=off",
        "train.compile=on",
        "train.test_views=6",
        "train.average=ema",
        "model.args.freeze_stem_bias=0.5",
    ],
)
def test_a_newer_setting_changes_the_key(spec: MakeSpec, change: str) -> None:
    assert spec(change).key() != spec().key()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=-1", "optimizer.lr=-1: must be greater than 0"),
        ("optimizer.lr=inf", "optimizer.lr=inf: must be a finite number"),
        ("optimizer.weight_decay=-0.1", "optimizer.weight_decay=-0.1: must be greater than or equal to 0"),
        ("train.threads=0", "train.threads=0: must be greater than 0 or 'auto'"),
        ("train.precision=float8", "train.precision=float8: must be 'auto', 'float32' or 'bfloat16'"),
        ("train.label_smoothing=1", "train.label_smoothing=1: must be less than 1"),
        ("data.crop_padding=-1", "data.crop_padding=-1: must be greater than or equal to 0"),
        ("data.flip=sideways", "data.flip=sideways: must be 'alternating', 'random' or 'none'"),
        ("scheduler.interval=week", "scheduler.interval=week: must be 'step' or 'epoch'"),
        ("seed=-1", "seed=-1: must be greater than or equal to 0"),
        ("device=gpu", "device=gpu: must be auto, cpu, cuda or cuda:N, where N is the number of a GPU"),
    ],
)
def test_a_mistake_names_its_key_and_the_rule(spec: MakeSpec, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        spec(override)
    assert str(raised.value) == message


class Settings(PlainData):
    count: PositiveInt
    names: list[str] = Field(default_factory=list)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "mine.count: must be set"),
        ({"count": 1, "more": 2}, "mine.more=2: unknown key"),
        ({"count": 1.5}, "mine.count=1.5: must be a whole number"),
        ({"count": "1"}, "mine.count=1: must be a whole number"),
        ({"count": 1, "names": "a"}, "mine.names=a: must be a list"),
        ({"count": 1, "names": [3]}, "mine.names=3: must be a string"),
        ({"count": 0, "names": 3}, "mine.count=0: must be greater than 0\nmine.names=3: must be a list"),
    ],
)
def test_each_invalid_key_has_a_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        validated(Settings, values, "mine")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("device", "wanted", "runs"),
    [("cpu", "auto", 8), ("cpu", "cpu", 8), ("cuda:0", "auto", 4), ("cuda:0", "cuda", 4), ("cuda:1", "cuda:1", 1)],
)
def test_runs_at_once(device: str, wanted: str, runs: int) -> None:
    assert DeviceInfo(device=device, gpus=4, cores=8, bfloat16=True).runs_at_once(wanted) == runs


@pytest.mark.parametrize(
    ("device", "wanted", "gpus"),
    [("cpu", "auto", [None] * 5), ("cuda:0", "auto", [0, 1, 2, 3, 0]), ("cuda:0", "cuda:0", [None] * 5)],
)
def test_workers_share_the_gpus_unless_the_user_names_one(device: str, wanted: str, gpus: list[int | None]) -> None:
    machine = DeviceInfo(device=device, gpus=4, cores=8, bfloat16=True)
    assert [machine.gpu_of_worker(number, wanted) for number in range(5)] == gpus


def test_the_machine_decides_what_is_auto(spec: MakeSpec) -> None:
    machine = DeviceInfo(device="cpu", gpus=0, cores=8, bfloat16=True)
    auto = spec("device=auto", "train.threads=auto", "train.precision=auto")
    assert auto.resolved(machine, runs_at_once=3).train.threads == 2
    assert auto.resolved(machine, runs_at_once=9).train.threads == 1
    assert auto.resolved(machine).train.precision == "bfloat16"
    assert auto.resolved(machine).device == "cpu"
    fixed = spec("device=cpu", "train.threads=3", "train.precision=float32")
    assert fixed.resolved(machine) == fixed
