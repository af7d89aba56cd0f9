"""A sweep on the user's own data set, which its `_target_` names."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from lrbench.results.files import read_results
from tests.conftest import Command

Sweep = Callable[..., "CompletedProcess[str]"]

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
    "executor=inline",
)


@pytest.fixture
def sweep(tmp_path: Path, command: Command, stored: None) -> Sweep:
    """Starts a sweep in the folder of a user with a data set."""
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "shapes.yaml").write_text(CONFIG)
    (tmp_path / "shapes.py").write_text(MODULE)
    small = ("--config-dir", "mine", "sweep=smoke", "data=shapes", *SMALL)
    return lambda *overrides: command("sweep", *small, *overrides)


def test_a_sweep_on_a_data_set_of_the_user(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep("allow=[shapes]")
    assert done.returncode == 0, done.stderr
    assert "seven shades of grey" in done.stdout
    results = read_results(tmp_path / "runs" / "smoke" / "trials")
    assert [run.spec.phase for run in results].count("final") == 2
    assert len(results) == 4
    assert {run.classes for run in results} == {7}
    assert {run.spec.data.target for run in results} == {"shapes.source"}
    report = (tmp_path / "runs" / "smoke" / "report.md").read_text()
    assert "constant" in report
    assert "shapes" in report


def test_a_data_set_of_the_user_must_be_allowed(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep()
    assert done.returncode == 2
    assert "error: data._target_=shapes.source: must start with lrbench.data. " in done.stderr
    assert "Add another prefix with allow=[…]" in done.stderr
    assert not (tmp_path / "runs" / "smoke").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("args: {brightness: 25}", "args: {colour: 3}"), "data=shapes: source() got an unexpected keyword argument"),
        (("images: 420", "images: 420.5"), "data.images=420.5: must be a whole number"),
        (("holdout_images: 70", "holdout_images: 420"), "data.holdout_images=420: must be less than data.images=420"),
    ],
    ids=["argument", "images", "holdout_images"],
)
def test_a_mistake_in_its_config(sweep: Sweep, tmp_path: Path, change: tuple[str, str], message: str) -> None:
    (tmp_path / "mine" / "data" / "shapes.yaml").write_text(CONFIG.replace(*change))
    done = sweep("allow=[shapes]")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_images_that_are_too_small_for_the_network(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "shapes.py").write_text(MODULE.replace("24", "12"))
    done = sweep("allow=[shapes]")
    assert done.returncode == 2, done.stderr
    assert "model=fast_quarter: must have images of at least 16 x 16 pixels" in done.stderr
    assert "got 12 x 12" in done.stderr
