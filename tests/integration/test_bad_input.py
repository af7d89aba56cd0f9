"""Mistakes of a user, through the real command: exit code 2, one clear message, no files left."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import SMALL

Command = Callable[..., "subprocess.CompletedProcess[str]"]

CASES = {
    "unknown scheduler": ("train", ["scheduler=cosin"], "scheduler=cosin: unknown; did you mean cosine"),
    "unknown scheduler of a sweep": (
        "sweep",
        ["schedulers=[cosine,one_cicle]"],
        "schedulers=one_cicle: unknown; did you mean one_cycle",
    ),
    "more images of a sweep than there are": (
        "sweep",
        ["data.train_images=5000"],
        "error: data.train_images=5000: must be from 1 to 640, because 64 of 704 images are held out",
    ),
    "list of lists of schedulers": (
        "sweep",
        ["schedulers=[[cosine]]"],
        "schedulers=['cosine']: unknown; did you mean cosine",
    ),
    "no schedulers": ("sweep", ["schedulers=null"], "schedulers=None: unknown"),
    "scheduler for schedulers": (
        "sweep",
        ["scheduler=cosine"],
        "scheduler=cosine: must be schedulers=[…], because a sweep compares several",
    ),
    "unknown argument": (
        "train",
        ["scheduler=cosine", "scheduler.args.T_mx=3"],
        "unknown key scheduler.args.T_mx; did you mean T_max",
    ),
    "unknown argument behind +": (
        "train",
        ["scheduler=cosine", "+scheduler.args.gamma=3"],
        "unknown key scheduler.args.gamma",
    ),
    "unknown knob": ("train", ["scheduler=cosine", "scheduler.knobs.warmup=0.1"], "unknown key scheduler.knobs.warmup"),
    "mistyped argument": (
        "train",
        ["scheduler=polynomial", "scheduler.args.power=two"],
        "scheduler.args.power=two: must be a number, such as 1.0",
    ),
    "fractional steps": (
        "train",
        ["scheduler=cosine", "scheduler.args.T_max=2.5"],
        "scheduler.args.T_max=2.5: must be a whole number, such as ",
    ),
    "unknown key": ("train", ["optimizer.rate=1"], "unknown key optimizer.rate"),
    "unknown section": ("train", ["optimiser=sgd"], "unknown key optimiser; did you mean optimizer"),
    "unknown sweep": (
        "sweep",
        ["sweep=fast"],
        "sweep=fast: unknown. Allowed: airbench, budgets, cifar10, cpu, quick, resnet20, smoke",
    ),
    "misspelled sweep": ("sweep", ["sweep=quik"], "sweep=quik: unknown; did you mean quick?"),
    "fraction of the run above one": (
        "train",
        ["scheduler=cosine", "scheduler.args.T_max=${steps:1.5}"],
        "error: scheduler.args.T_max=${steps:1.5}: the fraction of the run must be between 0 and 1; got 1.5",
    ),
    "formula outside a scheduler": (
        "train",
        ["train.epochs=${formula:2}"],
        "train.epochs: a formula must be inside a scheduler's config",
    ),
    "negative rate": ("train", ["optimizer.lr=-0.1"], "optimizer.lr=-0.1"),
    "zero epochs": ("train", ["train.epochs=0"], "train.epochs=0"),
    "no trials": ("sweep", ["n_trials=0"], "n_trials=0"),
    "warm-up longer than the run": (
        "train",
        ["scheduler=sequential", "scheduler.knobs.warmup=1.5"],
        "must be between 0 and 1; got 1.5",
    ),
    "no formula": (
        "train",
        ["scheduler=lambda", "scheduler.args.lr_lambda='0.95 **'"],
        "scheduler.args.lr_lambda: must be a formula; got '0.95 **' (invalid syntax)",
    ),
    "formula without a value": (
        "train",
        ["scheduler=lambda", "scheduler.args.lr_lambda='1 / epoch'"],
        "division by zero",
    ),
    "negative formula": (
        "train",
        ["scheduler=lambda", "scheduler.args.lr_lambda='0.5 - progress'"],
        "must be finite and at least 0; got -",
    ),
    "import in a formula": (
        "train",
        ["scheduler=lambda", "scheduler.args.lr_lambda='__import__(1)'"],
        "unknown name '__import__'",
    ),
    "open in a formula": ("train", ["scheduler=lambda", "scheduler.args.lr_lambda=\"open('x')\""], "formula"),
    "endless formula": (
        "train",
        ["scheduler=lambda", "scheduler.args.lr_lambda='9**9**9**9'"],
        "formula '9**9**9**9' has no value",
    ),
    "unquoted formula": (
        "train",
        ["scheduler=lambda", "scheduler.args.lr_lambda=(0.9 ** epoch"],
        "in two pairs of quotes",
    ),
    "rejected by torch": ("train", ["scheduler.args.pct_start=2"], "between 0 and 1"),
    "rejected by the model": ("train", ["model.args.width=-1"], "model.args.width=-1"),
    "model that muon does not suit": (
        "train",
        ["model=resnet20", "optimizer=muon"],
        "optimizer=muon: must have a network of weight matrices",
    ),
    "target from outside": (
        "train",
        ["scheduler._target_=os.system"],
        "scheduler._target_=os.system: must start with torch.optim",
    ),
    "outside of the search space": ("sweep", ["optimizer.lr=99"], "optimizer.lr=99: must be in the search space"),
    "sampler from outside": (
        "sweep",
        ["sampler._target_=os.system", "schedulers=[constant]"],
        "sampler._target_=os.system: must start with optuna.samplers",
    ),
    "name that is a path": (
        "sweep",
        ["name=../up"],
        "name=../up: must be a folder name without / and without a leading dot, such as name=quick-2",
    ),
    "more images than there are": (
        "sweep",
        ["sweep=smoke", "final_train_images=9999"],
        "final_train_images=9999: must be at most 640",
    ),
    "pruner with several seeds": (
        "sweep",
        ["pruner=median", "search_seeds=2"],
        "search_seeds must be 1 with a pruner",
    ),
    "unknown pruner": ("sweep", ["pruner=medain"], "pruner=medain: unknown; did you mean median"),
    "pruner from outside": (
        "sweep",
        ["pruner._target_=os.system"],
        "pruner._target_=os.system: must start with optuna.pruners",
    ),
    "empty list of schedulers": ("sweep", ["schedulers=[]"], "schedulers=[]: must name at least one scheduler"),
    "condition that is no formula": (
        "sweep",
        ["schedulers=[one_cycle]", "scheduler.search.args.pct_start.when='import os'"],
        "scheduler.search.args.pct_start.when=import os",
    ),
    "name that is too long": ("sweep", [f"name={300 * 'a'}"], "must have at most 200 bytes"),
    "folder that is too long": ("sweep", [f"out=new/{300 * 'a'}"], "must be a writable folder (File name too long)"),
    "unknown key to delete": ("sweep", ["~optimizer.search.rate"], "unknown key optimizer.search.rate"),
    "unknown key of a scheduler to delete": (
        "sweep",
        ["schedulers=[cosine]", "~scheduler.search.knobs.flor"],
        "unknown key scheduler.search.knobs.flor; did you mean floor?",
    ),
    "run that is too short for one of the schedulers": (
        "sweep",
        ["schedulers=[cosine,sequence]", "train.epochs=0.1"],
        "scheduler=sequence: scheduler.args.parts: each part must have at least one of the 2 steps",
    ),
    "range upside down": ("sweep", ["optimizer.search.lr={low: 1.0, high: 0.1}"], "optimizer.search.lr"),
    "argument of one scheduler for all": (
        "sweep",
        ["schedulers=[cosine,rex]", "scheduler.args.beta=0.1"],
        "scheduler=cosine: unknown key",
    ),
    "unknown interval": ("train", ["scheduler.interval=day"], "scheduler.interval=day"),
    "unknown device": ("train", ["device=tpu"], "device=tpu: must be auto, cpu, cuda or cuda:N"),
    "seed below zero": ("train", ["seed=-1"], "seed=-1"),
    "batch larger than the set": ("train", ["train.batch_size=100000"], "train.batch_size=100000"),
    "part that looks at the loss": (
        "train",
        ["scheduler=sequence", "scheduler@scheduler.args.parts.second.scheduler=plateau"],
        "must not contain plateau, which follows the loss",
    ),
    "fractions that make more than one": (
        "train",
        ["scheduler=sequence", "scheduler.args.parts.second.fraction=0.95"],
        "error: scheduler.args.parts: fractions must sum to 1; got [0.1, 0.95]",
    ),
    "Schedule-Free Muon": (
        "train",
        ["scheduler=schedule_free", "optimizer=muon"],
        "optimizer=muon: must be sgd or adamw for scheduler=schedule_free",
    ),
    "nothing held out": ("sweep", ["data.holdout_images=0"], "data.holdout_images=0"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(command: Command, tmp_path: Path, case: str) -> None:
    name, overrides, message = CASES[case]
    start = ["sweep=smoke"] if name == "sweep" and not overrides[0].startswith("sweep=") else []
    _refused(command(name, *start, *SMALL, *overrides), message)
    assert list(tmp_path.iterdir()) == []


def _refused(done: "subprocess.CompletedProcess[str]", message: str) -> None:
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("start", [["train"], ["sweep", "sweep=smoke"]], ids=["train", "sweep"])
def test_a_gpu_that_is_not_there(command: Command, tmp_path: Path, start: list[str]) -> None:
    _refused(
        command(*start, *SMALL, "device=cuda:99"),
        f"device=cuda:99: must be a GPU of this machine; torch sees {torch.cuda.device_count()} GPUs. Use device=cpu",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("start", "key"),
    [
        (["train", *SMALL, "out=file/runs"], "out"),
        (["sweep", "sweep=smoke", *SMALL, "out=file/runs"], "out"),
        (["train", "data.root=file/data"], "data.root"),
    ],
    ids=["out of a run", "out of a sweep", "data.root"],
)
def test_a_folder_that_cannot_be_written(command: Command, tmp_path: Path, start: list[str], key: str) -> None:
    (tmp_path / "file").write_text("")
    _refused(command(*start), f"{key}=")
    assert (tmp_path / "file").read_text() == ""


def test_a_damaged_cache_and_no_way_to_the_data(command: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar10.npz").write_bytes(b"PK not an archive")
    done = command(
        "train",
        f"data.root={tmp_path / 'data'}",
        PATH="/nowhere",
        https_proxy="http://127.0.0.1:9",
        HTTPS_PROXY="http://127.0.0.1:9",
    )
    assert done.returncode == 2, done.stderr
    for part in (
        "your own files",
        "torchvision's download",
        "npm is not on the PATH",
        "cifar-10-python.tar.gz",
        "by hand",
    ):
        assert part in done.stderr
    assert "cifar10.npz is damaged and will be made again" in done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_that_is_no_sweep(command: Command, folder: str) -> None:
    _refused(command("report", folder), f"{folder}: must be the folder of a sweep")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: mine\n_target_: torch.optim.lr_scheduler.ExponentialLR\n", "error: "),
        ("name: mine\n  bad indent: [\n", "error: "),
        (
            "name: mine\n_target_: os.system\ninterval: step\nknobs: {}\nargs: {}\nsearch: {}\n",
            "scheduler._target_=os.system: must start with torch.optim",
        ),
        (
            "name: mine\n_target_: mine.mine\ninterval: step\nknobs: {}\nargs: {}\nsearch: {}\n",
            "scheduler._target_=mine.mine: must start with torch.optim",
        ),
    ],
    ids=["without arguments", "not YAML", "target from outside", "prefix that is not allowed"],
)
def test_an_invalid_config_file_of_the_user(command: Command, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own" / "scheduler").mkdir(parents=True)
    (tmp_path / "own" / "scheduler" / "mine.yaml").write_text(text)
    _refused(command("train", "--config-dir", "own", *SMALL, "scheduler=mine"), message)
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"spec": 1}', "must be a result of this version of lrbench; spec"),
        ("{", "must be a result of this version of lrbench"),
        ('{"state": "finished", "from_the_future": 1}', "must be a result of this version of lrbench"),
    ],
    ids=["another version", "cut short", "newer version"],
)
@pytest.mark.parametrize("name", ["sweep", "report", "sync"])
def test_an_invalid_result(command: Command, tmp_path: Path, name: str, text: str, message: str) -> None:
    trials = tmp_path / "runs" / "smoke" / "trials"
    trials.mkdir(parents=True)
    (trials / "one.json").write_text(text)
    done = command(name, *(["sweep=smoke", *SMALL] if name == "sweep" else ["runs/smoke"]))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "one.json" in done.stderr and "Move it away" in done.stderr
    assert "Traceback" not in done.stderr
    assert (trials / "one.json").read_text() == text
