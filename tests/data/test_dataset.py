"""A data set of the user's own: 7 classes of 24 x 24 pixels."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lrbench.config.paths import data_root
from lrbench.data.dataset import load_dataset
from lrbench.spec import ConfigError, TrialSpec
from lrbench.training.train import train_one
from tests.conftest import Spec

SHAPES = """
import numpy as np
from lrbench.data.dataset import ImageSource

def source(spec, dtype="uint8", size=24, highest=6, count=None):
    def load(root, log):
        generator = np.random.default_rng(spec.seed)
        count_train = spec.images if count is None else count
        labels = {part: np.arange(n) % (highest + 1) for part, n in (("train", count_train), ("test", 70))}
        images = {}
        for part, y in labels.items():
            pixels = generator.integers(0, 50, (len(y), size, size, 3))
            pixels += 25 * y[:, None, None, None]
            images[part] = pixels.astype(dtype)
        return {
            "x_train": images["train"],
            "y_train": labels["train"],
            "x_test": images["test"],
            "y_test": labels["test"],
        }
    return ImageSource(7, 24, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), test_images=70, load=load)

def nothing(spec):
    return None
"""


@pytest.fixture
def shapes(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """Returns a run on the shapes."""
    (tmp_path / "shapes.py").write_text(SHAPES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shapes", raising=False)

    def run(*overrides: str, target: str = "shapes.source", **args: object) -> TrialSpec:
        made = spec("allow=[shapes]", "data.images=154", "data.holdout_images=14", *overrides)
        data = made.data.model_copy(update={"name": "shapes", "target": target, "args": args})
        return made.model_copy(update={"data": data})

    return run


@pytest.mark.parametrize("model", ["fast_quarter", "fast", "resnet20", "resnet18"])
def test_every_network_trains_on_it(shapes: Spec, model: str) -> None:
    small = {"resnet18": [], "resnet20": ["model.args.width=4"]}.get(model, ["model.args.width=0.1"])
    result = train_one(shapes(f"model={model}", "train.epochs=0.5", "train.batch_size=70", *small))
    assert result.classes == 7
    assert result.chance_accuracy == pytest.approx(1 / 7)
    assert result.state == "finished"
    assert 0 <= result.last("test/accuracy") <= 1


def test_a_run_that_diverged_counts_with_the_chance_of_its_classes(shapes: Spec) -> None:
    result = train_one(shapes("optimizer.lr=1e30", "optimizer.search.lr.high=1e31", "train.epochs=1"))
    assert result.state == "diverged"
    assert result.last("test/accuracy") == pytest.approx(1 / 7)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"dtype": "float32"}, "x_train must be uint8 (N, 24, 24, 3); got float32 (154, 24, 24, 3)"),
        ({"size": 23}, "x_train must be uint8 (N, 24, 24, 3); got uint8 (154, 23, 23, 3)"),
        ({"highest": 7}, "y_train must be from 0 to 6; got 0 to 7"),
        ({"count": 100}, "data.images=154: must be at most the 100 images of x_train"),
        ({"colour": 3}, "unexpected keyword argument 'colour'"),
    ],
)
def test_wrong_arrays_are_refused(shapes: Spec, args: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_dataset(shapes(**args).data, torch.device("cpu"), data_root())
    assert message in str(raised.value)


def test_a_target_must_return_a_source(shapes: Spec) -> None:
    with pytest.raises(ConfigError, match="must return an ImageSource; got NoneType"):
        load_dataset(shapes(target="shapes.nothing").data, torch.device("cpu"), data_root())


def test_the_parts_are_those_of_the_spec(shapes: Spec) -> None:
    data = load_dataset(shapes("data.train_images=100").data, torch.device("cpu"), data_root())
    assert [len(part) for part in (data.train, data.holdout, data.test)] == [100, 14, 70]
    assert data.holdout.labels.tolist() == [number % 7 for number in range(140, 154)]
    assert data.train.images.dtype == torch.uint8
    assert np.array_equal(data.train.images.shape, (100, 24, 24, 3))
