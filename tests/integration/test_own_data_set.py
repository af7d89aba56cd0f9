"""A sweep on the user's own data set, which its `_target_` names."""

import subprocess
import sys
from pathlib import Path

import pytest

from lrbench.results.files import read_results

MODULE = """
import numpy as np

from lrbench.data.dataset import ImageSource


def source(spec, brightness):
    def load(root, log):
        generator = np.random.default_rng(spec.seed)
        arrays = {}
        for part, count in (("train", spec.images), ("test", 70)):
            labels = np.arange(count) % 7
            pixels = generator.integers(0, 50, (count, 24, 24, 3)) + brightness * labels[:, None, None, None]
            arrays |= {f"x_{part}": pixels.astype(np.uint8), f"y_{part}": labels}
        log("seven shades of grey")
        return arrays

    return ImageSource(7, 24, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), test_images=70, load=load)
"""
CONFIG = """
name: shapes
_target_: shapes.source
args: {brightness: 25}
root: null
images: 420
holdout_images: 70
train_images: null
flip: random
crop_padding: 2
seed: 0
"""
SMALL = (
    "train.batch_size=35",
    "train.epochs=2",
    "train.threads=1",
    "device=cpu",
    "schedulers=[constant]",
    "n_trials=2",
)


@pytest.fixture
def own_data(tmp_path: Path) -> Path:
    """The folder of a user with a data set."""
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "shapes.yaml").write_text(CONFIG)
    (tmp_path / "shapes.py").write_text(MODULE)
    return tmp_path


def _sweep(folder: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lrbench.sweep", "--config-dir", "mine", "sweep=smoke", "data=shapes"]
    return subprocess.run([*command, *SMALL, *overrides], cwd=folder, capture_output=True, text=True, timeout=200)


def test_a_sweep_on_a_data_set_of_the_user(own_data: Path) -> None:
    sweep = _sweep(own_data, "allow=[shapes]")
    assert sweep.returncode == 0, sweep.stderr
    assert "seven shades of grey" in sweep.stdout
    results = read_results(own_data / "runs" / "smoke" / "trials")
    assert [run.spec.phase for run in results].count("final") == 2
    assert len(results) == 4
    assert {run.classes for run in results} == {7}
    assert {run.spec.data.target for run in results} == {"shapes.source"}
    report = (own_data / "runs" / "smoke" / "report.md").read_text()
    assert "constant" in report
    assert "shapes" in report


def test_a_data_set_of_the_user_must_be_allowed(own_data: Path) -> None:
    sweep = _sweep(own_data)
    assert sweep.returncode == 2
    assert "error: data._target_=shapes.source: must start with lrbench.data. " in sweep.stderr
    assert "Add another prefix with allow=[…]" in sweep.stderr
    assert not (own_data / "runs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("args: {brightness: 25}", "args: {colour: 3}"), "data=shapes: source() got an unexpected keyword argument"),
        (("images: 420", "images: 420.5"), "data.images=420.5: must be a whole number"),
        (("holdout_images: 70", "holdout_images: 420"), "data.holdout_images=420: must be less than data.images=420"),
    ],
    ids=["argument", "images", "holdout_images"],
)
def test_a_mistake_in_its_config(own_data: Path, change: tuple[str, str], message: str) -> None:
    (own_data / "mine" / "data" / "shapes.yaml").write_text(CONFIG.replace(*change))
    sweep = _sweep(own_data, "allow=[shapes]")
    assert sweep.returncode == 2, sweep.stderr
    assert message in sweep.stderr
    assert "Traceback" not in sweep.stderr


def test_images_that_are_too_small_for_the_network(own_data: Path) -> None:
    (own_data / "shapes.py").write_text(MODULE.replace("24", "12"))
    sweep = _sweep(own_data, "allow=[shapes]")
    assert sweep.returncode == 2, sweep.stderr
    assert "model=fast_quarter: must have images of at least 16 x 16 pixels" in sweep.stderr
    assert "got 12 x 12" in sweep.stderr
