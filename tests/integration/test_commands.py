"""Every command as a user starts it, in a new Python process if that matters."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lrbench import __version__, cli
from lrbench.config.compose import load_config
from lrbench.results.files import read_results
from lrbench.results.selection import runs_of_phase
from tests.conftest import ROOT, SMALL, Command
from tests.integration import stores


@pytest.mark.parametrize("name", ["sweep", "train", "curves", "report", "ui"])
def test_help(command: Command, name: str) -> None:
    done = command(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "scheduler" in done.stdout or "folder" in done.stdout


@pytest.mark.parametrize(("name", "config"), [("sweep", "sweep"), ("train", "config"), ("curves", "curves")])
def test_the_help_names_keys_that_exist(command: Command, name: str, config: str) -> None:
    text = command(name, "--help").stdout
    assert len(text.splitlines()) < 40
    assert max(map(len, text.splitlines())) <= 100
    keys = re.findall(r"^  ([a-z_.]+) {2,}", text.partition("Keys:")[2].partition("Examples:")[0], flags=re.MULTILINE)
    examples = re.findall(rf"^  python -m lrbench.{name} (.*)$", text.partition("Examples:")[2], flags=re.MULTILINE)
    assert len(keys) >= 7
    assert len(examples) == 3
    cfg = load_config(config, ["scheduler=cosine"])
    for key in keys:
        section, _, last = key.rpartition(".")
        assert key == "sweep" or last in (OmegaConf.select(cfg, section) if section else cfg), key  # a config group


@pytest.mark.parametrize("name", ["sweep", "train", "curves", "report", "schedulers", "sync", "ui"])
def test_version(command: Command, name: str) -> None:
    done = command(name, "--version")
    assert (done.returncode, done.stdout) == (0, f"lrbench {__version__}\n")


@pytest.mark.parametrize("name", ["sweep", "report", "sync", "ui"])
def test_a_closed_pipe_is_no_traceback(name: str) -> None:
    command = f"{sys.executable} -m lrbench.{name} --help | true; exit ${{PIPESTATUS[0]}}"
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", command], env=buffered, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.returncode == cli.CLOSED_PIPE


def test_a_sweep_ends_if_nobody_reads_its_output(tmp_path: Path) -> None:
    sweep = ["sweep=smoke", "tracking=none", *SMALL]
    command = f"{shlex.join([sys.executable, '-m', 'lrbench.sweep', *sweep])} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.returncode == cli.CLOSED_PIPE


def test_a_terminal_without_unicode(command: Command, tmp_path: Path) -> None:
    for choice in ("scheduler=cosine", "schedulers=[cosine,step,rex,linear]"):
        arguments = [sys.executable, "-m", "lrbench.curves", choice, f"out={tmp_path}"]
        done = subprocess.run(arguments, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert b"*" in done.stdout
        assert b"?" not in done.stdout


@pytest.mark.parametrize("name", ["sweep", "train"])
def test_shows_its_config(command: Command, name: str) -> None:
    done = command(name, "--cfg", "job", "--resolve")
    assert done.returncode == 0, done.stderr
    assert "max_lr: 0.5" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("lrbench.sweep", "--help"),
        ("lrbench.sweep", "--cfg", "job"),
        ("lrbench.curves", "--help"),
        ("lrbench.curves", "schedulers=[cosine,rex]", "scheduler.interval=day"),
        ("lrbench.train", "train.epochs=0"),
        ("lrbench.sweep", "schedulers=[cosin]"),
    ],
    ids=" ".join,
)
def test_help_and_a_rejected_config_import_neither_torch_nor_mlflow(arguments: tuple[str, ...], tmp_path: Path) -> None:
    code = f"""
import runpy, sys
sys.argv = {["lrbench", *arguments[1:]]!r}
try:
    runpy.run_module({arguments[0]!r}, run_name="__main__", alter_sys=True)
except SystemExit:
    pass
heavy = {{"torch", "mlflow", "torchvision", "matplotlib", "pandas"}} & set(sys.modules)
print("HEAVY", sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "HEAVY []" in done.stdout, done.stdout + done.stderr


@pytest.mark.usefixtures("stored")
def test_one_run(python_command: Command, tmp_path: Path) -> None:
    done = python_command("train", *SMALL, "scheduler=cosine", "seed=3", "optimizer.lr=0.25")
    assert done.returncode == 0, done.stderr
    (result,) = read_results(tmp_path / "runs" / "train" / "trials")
    assert (result.spec.scheduler.name, result.spec.seed, result.spec.optimizer.lr) == ("cosine", 3, 0.25)
    assert f"[1/1] cosine final seed 3: test/accuracy {100 * result.last('test/accuracy'):.2f} %" in done.stdout
    assert "\x1b" not in done.stdout  # plain lines if the output is no terminal
    assert len(stores.runs(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}", "train")) == 1
    (path,) = (tmp_path / "runs" / "train" / "trials").glob("*.json")
    assert json.loads(path.read_text())["spec"]["scheduler"]["_target_"] == "torch.optim.lr_scheduler.CosineAnnealingLR"


def test_multirun(command: Command, tmp_path: Path, empty_store: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(empty_store, tmp_path / "elsewhere" / "mlflow.db")
    done = command("train", "-m", "scheduler=cosine,cyclic", *SMALL, "out=elsewhere")
    assert done.returncode == 0, done.stderr
    found = read_results(tmp_path / "elsewhere" / "train" / "trials")
    assert {result.spec.scheduler.name for result in found} == {"cosine", "cyclic"}
    assert {path.name for path in tmp_path.iterdir()} == {"elsewhere"}


def test_from_a_wheel_in_any_folder(tmp_path: Path) -> None:
    source, site, work = tmp_path / "source", tmp_path / "site", tmp_path / "work"
    work.mkdir()
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in files:
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('../wheel'))"
    (tmp_path / "wheel").mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    uv = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run([*uv, "--python", sys.executable], check=True, capture_output=True, timeout=120)
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    here = "import lrbench, runpy, sys; assert lrbench.__file__.startswith(sys.argv.pop(1))"
    code = f"{here}; runpy.run_module('lrbench.sweep', run_name='__main__')"
    small = [*SMALL, "sweep=smoke", "n_trials=1", "final_seeds=1", "schedulers=[constant]"]
    done = subprocess.run(
        [sys.executable, "-c", code, str(site), *small],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert (work / "runs" / "smoke" / "report.md").exists()


@pytest.mark.usefixtures("stored")
def test_a_scheduler_of_ones_own_as_the_readme_shows_it(command: Command, tmp_path: Path) -> None:
    """The YAML and the function are read out of the README."""
    readme = (ROOT / "README.md").read_text()
    (tmp_path / "mine" / "scheduler").mkdir(parents=True)
    (tmp_path / "mine" / "scheduler" / "stairs.yaml").write_text(readme.partition("```yaml\n")[2].partition("```")[0])
    (tmp_path / "stairs.py").write_text(readme.partition("```python\n")[2].partition("```")[0])
    small = [*SMALL, "sweep=smoke", "n_trials=1", "final_seeds=1", "executor=inline"]
    done = command("sweep", "--config-dir", "mine", "allow=[stairs]", "schedulers=[stairs]", *small)
    assert done.returncode == 0, done.stderr
    (final,) = runs_of_phase(read_results(tmp_path / "runs" / "smoke" / "trials"), "stairs", "final")
    assert "--config-dir mine scheduler=stairs data=synthetic 'allow=[stairs]'" in done.stdout
    assert sorted(set(final.curves["lr"].values)) == [0.125, 0.25, 0.375, 0.5]
    refused = command("train", "--config-dir", "mine", "scheduler=stairs", *SMALL)
    assert refused.returncode == 2
    assert "allow=" in refused.stderr


def test_dry_run_tells_all_and_starts_nothing(command: Command, tmp_path: Path) -> None:
    schedulers = "schedulers=[constant,warmup_stable_decay]"
    done = command("sweep", "dry_run=true", "sweep=smoke", *SMALL, schedulers, "n_trials=5", "minutes=3")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    lines = done.stdout.splitlines()
    assert lines[0] == "constant            optimizer.lr 0.05 to 2 (log)"
    assert "scheduler.args.shape linear, cosine, one_minus_sqrt" in lines[1]
    assert lines[2].startswith("constant: the last learning rate is 100 % of the peak")
    assert lines[3].startswith("planned: 10 search runs of 20 steps and 4 final runs of 22 steps, ")
    assert lines[3].endswith(" into runs/smoke")
    assert lines[4].startswith("estimated time: ") and lines[4].endswith("nothing was started")
    assert lines[5].startswith("minutes=3 leaves out the trials and final seeds that do not fit")


@pytest.mark.usefixtures("stored")
def test_dry_run_of_a_sweep_that_has_runs(command: Command, tmp_path: Path) -> None:
    overrides = ["sweep=smoke", *SMALL, "schedulers=[constant]", "n_trials=1", "executor=inline"]
    assert command("sweep", *overrides, "final_seeds=1").returncode == 0
    more = command("sweep", *overrides, "final_seeds=3", "dry_run=true")
    assert "finished before: 2 of these runs" in more.stdout, more.stderr
    other = command("sweep", *overrides, "train.epochs=2", "dry_run=true")
    assert other.returncode == 2
    assert "train.epochs: 1.0 in the folder, 2 now" in other.stderr
    fresh = command("sweep", *overrides, "train.epochs=2", "dry_run=true", "fresh=true")
    assert fresh.returncode == 0, fresh.stderr
    assert "finished before" not in fresh.stdout
    assert len(read_results(tmp_path / "runs" / "smoke" / "trials")) == 2


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_that_another_thread_gets_ends_the_program(name: str, tmp_path: Path) -> None:
    code = f"""
import signal, sys, threading, time
from lrbench import cli

def task(overrides):
    def get_signal():
        time.sleep(0.5)
        signal.pthread_kill(threading.get_ident(), signal.{name})
        time.sleep(60)
    threading.Thread(target=get_signal, daemon=True).start()
    threading.Event().wait()

sys.argv = ["lrbench"]
cli.command("config", task)
"""
    heeded = partial(signal.signal, getattr(signal, name), signal.SIG_DFL)  # nohup would have it ignored
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, preexec_fn=heeded)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
