from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lrbench import config, plan
from lrbench.spec import ConfigError, TrialSpec
from tests.conftest import ROOT, SMALL

Spec = Callable[..., TrialSpec]


def test_length_follows_from_images_batch_and_epochs(spec: Spec) -> None:
    train = spec("train.batch_size=32", "train.epochs=2.5").train
    assert (train.steps_per_epoch, train.total_steps) == (20, 50)  # 640 images, 64 of 704 are held out


def test_fractions_and_epochs_in_steps(spec: Spec) -> None:
    quarter = spec("train.batch_size=32", "train.epochs=2", "scheduler=cosine", "scheduler.knobs.length=0.25")
    assert quarter.scheduler.args["T_max"] == 10
    one_epoch = spec("train.batch_size=32", "train.epochs=2", "scheduler=cosine", "scheduler.args.T_max=${epochs:1}")
    assert one_epoch.scheduler.args["T_max"] == 20


def test_epochs_are_the_unit_of_interval_epoch(spec: Spec) -> None:
    scheduler = spec("train.epochs=8", "scheduler=cosine", "scheduler.interval=epoch", "scheduler.knobs.length=0.25").scheduler
    assert scheduler.args["T_max"] == 2
    assert (
        spec("train.epochs=8", "scheduler=cosine", "scheduler.interval=epoch", "scheduler.args.T_max=${epochs:5}").scheduler.args["T_max"]
        == 5
    )


def test_peak_rate_reaches_schedulers_that_have_their_own_name_for_it(spec: Spec) -> None:
    assert spec("scheduler=one_cycle", "optimizer.lr=0.7").scheduler.args["max_lr"] == 0.7
    assert spec("scheduler=cyclic", "optimizer.lr=0.5", "scheduler.knobs.base=0.1").scheduler.args["base_lr"] == pytest.approx(0.05)


def test_spec_goes_through_json_unchanged(spec: Spec) -> None:
    for scheduler in config.options("scheduler"):
        before = spec(f"scheduler={scheduler}")
        assert TrialSpec.model_validate_json(before.model_dump_json(by_alias=True)) == before


def test_key_depends_on_everything_in_the_spec(spec: Spec) -> None:
    assert spec().key() == spec().key()
    assert (
        len({spec(*change).key() for change in ([], ["seed=1"], ["train.epochs=2"], ["optimizer.lr=0.1"], ["optimizer.weight_decay=0"])})
        == 5
    )


def test_sampled_values_are_set_and_kept(spec: Spec) -> None:
    cfg = config.load("config", [*SMALL, "scheduler=one_cycle"])
    sampled = config.parse(cfg, {"optimizer.lr": 0.125, "scheduler.args.pct_start": 0.5}, seed=7)
    assert (sampled.optimizer.lr, sampled.scheduler.args["max_lr"], sampled.scheduler.args["pct_start"], sampled.seed) == (
        0.125,
        0.125,
        0.5,
        7,
    )
    assert sampled.sampled == {"optimizer.lr": 0.125, "scheduler.args.pct_start": 0.5}
    assert cfg.optimizer.lr == 0.5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=-1", "optimizer.lr=-1"),
        ("optimizer.lr=inf", "optimizer.lr=inf"),
        ("optimizer.lr=null", "optimizer.lr=null"),
        ("optimizer.weight_decay=-0.1", "optimizer.weight_decay=-0.1"),
        ("train.epochs=0", "train.epochs=0"),
        ("train.epochs=1e9", "train.epochs=1000000000.0"),
        ("train.epochs=many", "train.epochs=many: a number is expected"),
        ("train.batch_size=0", "train.batch_size=0"),
        ("train.batch_size=100000", "train.batch_size=100000: from 1 to the 640 training images"),
        ("train.threads=0", "train.threads=0"),
        ("train.precision=float8", "train.precision=float8"),
        ("train.label_smoothing=1", "train.label_smoothing=1"),
        ("data.train_images=9999", "data.train_images=9999: from 1 to 640"),
        ("data.crop_padding=99", "data.crop_padding=99"),
        ("data.flip=sideways", "data.flip=sideways"),
        ("seed=1.5", "seed=1.5: a whole number is expected"),
        ("seed=-1", "seed=-1"),
        ("device=gpu", "device=gpu: auto, cpu, cuda"),
        ("+seeed=1", "unknown key seeed; did you mean seed"),
        ("+scheduler.args.foo=1", "unknown key scheduler.args.foo"),
        ("+scheduler.args={pct_strat: 0.2}", "unknown key scheduler.args.pct_strat; did you mean pct_start"),
        ("scheduler.args.pct_start=soon", "scheduler.args.pct_start=soon: a number is expected"),
        ("scheduler.args.three_phase=3", "scheduler.args.three_phase=3: true or false is expected"),
        ("scheduler.args=3", "scheduler.args=3: a mapping is expected"),
        ("scheduler.interval=week", "scheduler.interval=week"),
        ("scheduler._target_=os.system", "scheduler._target_=os.system: a target begins with"),
        ("scheduler._target_=torch.optimizer_evil.f", "a target begins with"),
        ("model._target_=shutil.rmtree", "model._target_=shutil.rmtree"),
        ("scheduler.args.total_steps=${steps:1.5}", "1.5 is no fraction of the run"),
        ("scheduler.args.total_steps=${epochs:3}", "3 epochs do not lie in the run"),
        ("scheduler.args.total_steps=${formula:'open(1)'}", "unknown name 'open'"),
    ],
)
def test_mistakes_name_the_key(spec: Spec, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        spec("scheduler=one_cycle", override)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "names"),
    [(["schedulers=cosine"], ["cosine"]), (["sweep=cifar10", "schedulers=[rex,cosine]"], ["rex", "cosine"]), (["schedulers=all"], None)],
)
def test_schedulers_of_a_sweep_are_one_or_a_list_or_all(overrides: list[str], names: list[str] | None) -> None:
    assert plan.make(overrides).settings.schedulers == (names or config.options("scheduler"))


def test_more_images_than_the_files_have_can_be_wanted_of_them() -> None:
    wanted = ["sweep=cpu", "schedulers=[multi_step]", "data=synthetic", "data.images=50000"]  # of the file's 2,560, cpu's 20,000 cannot be
    assert plan.make(wanted).specs()[0].data.train_images == 20_000


def test_user_may_allow_targets_of_their_own(spec: Spec) -> None:
    assert spec("scheduler._target_=mine.schedules.f", "allow=[mine]").scheduler.target == "mine.schedules.f"
    with pytest.raises(ConfigError):
        spec("scheduler._target_=mine_too.f", "allow=[mine]")


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*/*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_file(path: Path) -> None:
    """Opens with what it is, is named as its file, and composes."""
    text = path.read_text()
    assert text.startswith("# ")
    assert text.splitlines()[0].endswith(".") and len(text.splitlines()[0]) > 20
    assert yaml.safe_load(text)["name"] == path.stem
    group = path.parent.name
    root = "sweep" if group in ("sampler", "pruner", "executor") else "config"
    extra = ["optimizer.args.momentum=0.8"] if (group, path.stem) == ("optimizer", "sgd") else []
    config.parse(config.load(root, [f"{group}={path.stem}", *extra]))


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "scheduler").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_scheduler_file_has_its_parts(path: Path) -> None:
    node = yaml.safe_load(path.read_text())
    assert [key for key in node if key != "defaults"] == ["name", "_target_", "interval", "knobs", "args", "search"]
