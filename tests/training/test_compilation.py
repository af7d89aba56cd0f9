"""Compiled training is eager training, up to rounding."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lrbench.executors.executor import STEPS_THAT_PAY, Workspace
from lrbench.spec import ConfigError
from lrbench.training import run_cache as run_cache_module
from lrbench.training import train_step
from lrbench.training.compilation import Mode, compilation_mode
from lrbench.training.run_cache import RunCache
from lrbench.training.train import train_one
from tests.conftest import Spec

# The compiler of torch 2.11 raises warnings about torch itself.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning")
compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="this machine has no C++ compiler"
)
CLOSE = 0.05  # relative difference of the losses; bfloat16 has 8 bits
MODELS = (
    ["model=fast", "model.args.width=0.125"],
    ["model=fast_quarter", "model.args.width=0.125"],
    ["model=resnet20", "model.args.width=4"],
    ["model=resnet18"],
)


def _losses(spec: Spec, *overrides: str) -> list[float]:
    result = train_one(spec("train.precision=bfloat16", "train.epochs=0.2", "optimizer.lr=0.05", *overrides))
    assert result.state == "finished"
    assert ("compiled" in result.environment.get("step", "")) == ("train.compile=on" in overrides)
    return result.curves["train/loss"].values


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=" ".join)
def test_a_compiled_network_learns_like_an_eager_one(spec: Spec, model: list[str]) -> None:
    assert _losses(spec, "train.compile=on", *model) == pytest.approx(_losses(spec, *model), rel=CLOSE)


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("overrides", [["optimizer=adamw"], ["scheduler=schedule_free"]], ids=" ".join)
def test_a_compiled_device_step_is_the_eager_step(
    spec: Spec, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    """Its crops and its optimizer are compiled, too. The CPU has no graph to capture."""
    monkeypatch.setattr(run_cache_module, "uses_device_step", lambda spec: spec.train.graph == "auto")
    small = ("model.args.width=0.125", "data.crop_padding=2", "optimizer.lr=0.01", *overrides)
    compiled = _losses(spec, "train.compile=on", *small)
    assert compiled == pytest.approx(_losses(spec, "train.graph=off", *small), rel=CLOSE)


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("fails", ["forward", "backward"])
def test_a_compilation_that_fails(
    spec: Spec, required: bool, fails: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The backward pass is compiled later than the forward pass."""

    def fail(*args: object) -> None:
        raise RuntimeError("no compiler was found\nTraceback")

    def compile(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call(*args: Tensor) -> Tensor:
            if fails == "forward":
                fail()
            result = function(*args)
            result.register_hook(fail)  # type: ignore[no-untyped-call]
            return result

        return call

    monkeypatch.setattr(torch, "compile", compile)
    mode: Mode = "must" if required else "try"
    monkeypatch.setattr(train_step, "compilation_mode", lambda spec, pays: mode)
    if required:
        with pytest.raises(ConfigError, match=r"train.compile=on: the compilation failed: no compiler was found$"):
            train_one(spec())
        return
    result = train_one(spec())
    assert capsys.readouterr().out == "training without torch.compile: no compiler was found\n"
    assert "step" not in result.environment
    assert result.state == "finished"


def test_compile_auto_is_for_long_sweeps_on_a_gpu(spec: Spec) -> None:
    on_cpu, on_gpu = spec(), spec().model_copy(update={"device": "cuda:0"})
    assert compilation_mode(on_cpu, pays=True) == "no"
    assert compilation_mode(on_gpu, pays=True) == "try"
    assert compilation_mode(on_gpu, pays=False) == "no"
    assert compilation_mode(spec("train.compile=on"), pays=False) == "must"
    assert compilation_mode(spec("train.compile=off"), pays=True) == "no"
    folder = Path()
    assert Workspace(folder, folder, folder, 2 * STEPS_THAT_PAY).compilation_pays(2)
    assert not Workspace(folder, folder, folder, 2 * STEPS_THAT_PAY).compilation_pays(3)


def test_a_folder_that_cannot_be_written_keeps_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    RunCache(Path("/proc/no-such-folder"))
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


def test_compiled_code_is_kept_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    RunCache(tmp_path)
    code = "from torch._inductor.runtime.cache_dir_utils import cache_dir; print(cache_dir())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "compiled")
