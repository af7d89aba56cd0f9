import pytest
import torch

from lrbench.config.paths import data_root
from lrbench.data.dataset import blank_dataset, image_source, load_dataset
from lrbench.spec import ConfigError
from lrbench.training.preflight import check_specs
from lrbench.training.train import train_one
from tests.conftest import Spec
from tests.data.shapes import MISTAKES

CPU = torch.device("cpu")
SMALL_MODELS = {
    "fast_quarter": ["model.args.width=0.1"],
    "fast": ["model.args.width=0.1"],
    "resnet20": ["model.args.width=4"],
    "resnet18": [],
}


@pytest.mark.parametrize("model", SMALL_MODELS)
def test_every_network_trains_on_it(shapes: Spec, model: str) -> None:
    result = train_one(shapes(f"model={model}", "train.epochs=0.5", *SMALL_MODELS[model]))
    assert result.state == "finished"
    assert result.classes == 7
    assert result.chance_accuracy == pytest.approx(1 / 7)
    assert 0 <= result.last("test/accuracy") <= 1


def test_it_is_learned_with_augmentation(shapes: Spec) -> None:
    run = shapes("train.batch_size=20", "train.epochs=8", "data.crop_padding=3", "data.flip=random")
    assert train_one(run).last("test/accuracy") > 3 / 7


def test_a_run_that_diverged_has_the_accuracy_of_guessing(shapes: Spec) -> None:
    result = train_one(shapes("optimizer.lr=1e30", "optimizer.search.lr.high=1e31", "train.epochs=2"))
    assert result.state == "diverged"
    assert result.last("val/accuracy") == result.last("test/accuracy") == pytest.approx(1 / 7)


def test_the_parts_have_the_images_of_the_spec(shapes: Spec) -> None:
    data = load_dataset(shapes("data.train_images=100").data, CPU, data_root())
    assert [len(part) for part in (data.train, data.holdout, data.test)] == [100, 14, 70]
    assert data.train.labels.tolist() == [number % 7 for number in range(100)]
    assert data.holdout.labels.tolist() == [number % 7 for number in range(140, 154)]  # the last ones
    assert data.train.images.dtype == torch.uint8
    assert data.train.images.shape == (100, 24, 24, 3)


MESSAGES = {
    "float images": "data=shapes: x_train must be uint8 (N, 24, 24, 3); got float32 (154, 24, 24, 3)",
    "smaller images": "data=shapes: x_train must be uint8 (N, 24, 24, 3); got uint8 (154, 23, 23, 3)",
    "channels first": "data=shapes: x_test must be uint8 (N, 24, 24, 3); got uint8 (70, 3, 24, 24)",
    "grey images": "data=shapes: x_test must be uint8 (N, 24, 24, 3); got uint8 (70, 24, 24)",
    "a label too high": "data=shapes: y_train must be from 0 to 6; got 1 to 7",
    "a label below zero": "data=shapes: y_test must be from 0 to 6; got -1 to 5",
    "float labels": "data=shapes: y_train must be whole numbers (154,); got float64 (154,)",
    "one-hot labels": "data=shapes: y_train must be whole numbers (154,); got int64 (154, 7)",
    "fewer labels": "data=shapes: y_train must be whole numbers (154,); got int64 (153,)",
    "a list of labels": "data=shapes: load must return NumPy arrays x_test and y_test; got x_train, y_train, x_test",
    "no labels": "data=shapes: load must return NumPy arrays x_train and y_train; got no arrays",
    "too few images": "data.images=154: must be at most the 30 images of x_train",
    "too few test images": "data=shapes: x_test must have 70 images; got 30",
    "no file": "data=shapes: [Errno 2] No such file or directory: 'shapes.npz'",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_arrays_are_refused(shapes: Spec, mistake: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_dataset(shapes(mistake=mistake).data, CPU, data_root())
    assert str(raised.value).startswith(MESSAGES[mistake])
    assert "\n" not in str(raised.value)


def test_a_target_must_return_a_source(shapes: Spec) -> None:
    run = shapes(target="tests.data.shapes.nothing")
    with pytest.raises(
        ConfigError, match=r"data._target_=tests.data.shapes.nothing: must return an ImageSource; got None"
    ):
        load_dataset(run.data, CPU, data_root())


def test_an_argument_that_the_target_does_not_take(shapes: Spec) -> None:
    with pytest.raises(ConfigError, match=r"data=shapes: .* unexpected keyword argument 'colour'"):
        image_source(shapes(colour=3).data)


def test_a_border_must_be_smaller_than_the_images(shapes: Spec) -> None:
    data = shapes().data.model_copy(update={"crop_padding": 24})
    with pytest.raises(ConfigError, match=r"data\.crop_padding=24: must be less than the 24 pixels of an image"):
        load_dataset(data, CPU, data_root())


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_blank_images_need_no_file(shapes: Spec, device: str) -> None:
    data = blank_dataset(shapes(mistake="no file").data, 5, torch.device(device))
    assert data.train.images.shape == (5, 24, 24, 3)
    assert {data.train.images.device.type, data.train.labels.device.type} == {device}
    assert (data.classes, data.image_size) == (7, 24)


def test_a_derived_tensor_is_computed_once_per_key(shapes: Spec) -> None:
    data = blank_dataset(shapes().data, 5, CPU)
    first = data.derived("key", lambda: torch.zeros(1))
    assert data.derived("key", lambda: torch.ones(1)) is first
    assert data.derived("other key", lambda: torch.ones(1)) is not first


def test_a_check_reads_no_file(shapes: Spec) -> None:
    assert check_specs([shapes(mistake="no file")], print).device == "cpu"
