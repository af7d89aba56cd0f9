import hashlib
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lrbench import config, data, loop
from lrbench.spec import ConfigError, DataSpec, TrialSpec

Spec = Callable[..., TrialSpec]
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def cifar10() -> DataSpec:
    """CIFAR-10 as a user gets it: in the default cache, brought there if it is not."""
    spec = config.parse(config.load("config", ["data.train_images=null"])).data
    data.prepare(spec)
    return spec


@pytest.mark.xdist_group("cifar10")
def test_cifar10_has_its_sums_and_its_split(cifar10: DataSpec) -> None:
    loaded = data.load(cifar10, CPU)
    assert [len(part) for part in (loaded.train, loaded.holdout, loaded.test)] == [45_000, 5_000, 10_000]
    whole = torch.cat([loaded.train.images, loaded.holdout.images]).numpy()
    assert hashlib.sha256(whole.tobytes()).hexdigest() == data.CIFAR10_SHA256["x_train"]
    assert torch.bincount(loaded.test.labels).tolist() == [1000] * 10


@pytest.mark.xdist_group("cifar10")
def test_one_short_run_on_cifar10_reaches_45_percent(cifar10: DataSpec) -> None:
    result = loop.train_one(config.parse(config.load("config", ["device=cpu", "train.threads=1"])))
    assert result.last("test/accuracy") >= 0.45
    assert abs(result.last("test/accuracy") - result.last("val/accuracy")) < 0.05


@pytest.mark.xdist_group("cifar10")
def test_a_damaged_cache_is_found_and_made_again(cifar10: DataSpec, tmp_path: Path) -> None:
    good = (config.data_root() / "cifar10.npz").read_bytes()
    for damaged in (good[: len(good) // 2], good[:1_000_000] + b"\xff" * 9 + good[1_000_009:], b""):
        (tmp_path / "cifar10.npz").write_bytes(damaged)
        said: list[str] = []
        assert data._read_cache(tmp_path / "cifar10.npz", said.append) is None
        assert "is damaged and is made again" in said[0]


def test_files_of_the_original_set_are_read(tmp_path: Path) -> None:
    """Not the real files, which have other sums: torchvision refuses them, and the message says where real ones go."""
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"no pickle")
    with pytest.raises(RuntimeError, match="not found or corrupted"):
        data._from_own_files(tmp_path, print)


def test_no_way_to_the_data_says_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(root: Path, say: data.Report) -> data.Arrays:
        """torchvision's download"""
        raise OSError("no route to host")

    monkeypatch.setattr(data, "_from_torchvision", unreachable)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LRBENCH_DATA", str(tmp_path))
    spec = config.parse(config.load("config", [])).data
    with pytest.raises(ConfigError) as raised:
        data.prepare(spec, lambda text: None)
    for part in ("your own files", "no route to host", "npm is not on the PATH", "by hand", "data=synthetic"):
        assert part in str(raised.value)
    assert not (tmp_path / "cifar10.npz").exists()


def _prepare(spec: DataSpec) -> None:
    data.prepare(spec, print)


@pytest.mark.xdist_group("cifar10")
def test_processes_that_start_together_share_one_cache(cifar10: DataSpec) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_prepare, [cifar10] * 2)


def test_synthetic_follows_its_seed(spec: Spec) -> None:
    one, again, other = (data.synthetic(spec(f"data.seed={seed}").data) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one["x_train"], again["x_train"])
    assert (one["x_train"] != other["x_train"]).any()
    assert set(one["y_test"]) <= set(range(10))


def test_batches_are_whole_and_hold_each_image_once(spec: Spec) -> None:
    train = data.load(spec().data, CPU).train
    batches = list(data.Batches(train, spec().data, 64, torch.Generator().manual_seed(0)).epoch(0))
    assert [images.shape for images, _ in batches] == [(64, 3, 32, 32)] * 10
    assert batches[0][0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.cat([labels for _, labels in batches]).sort().values, train.labels.sort().values)


def test_crops_and_flips_are_windows_of_the_padded_image(spec: Spec) -> None:
    settings = spec("data.crop_padding=2", "data.flip=random").data
    image = torch.arange(32 * 32 * 3, dtype=torch.int64).remainder(251).to(torch.uint8).view(1, 32, 32, 3)
    split = data.Split(image.expand(64, -1, -1, -1).contiguous(), torch.zeros(64, dtype=torch.int64))
    (batch, _), *_ = data.Batches(split, settings, 64, torch.Generator().manual_seed(0)).epoch(0)
    padded = torch.nn.functional.pad(image.permute(0, 3, 1, 2).float(), (2, 2, 2, 2), mode="reflect").permute(0, 2, 3, 1)
    windows = [padded[:, y : y + 32, x : x + 32] for y in range(5) for x in range(5)]
    allowed = [data.Normalize(CPU)(window) for window in windows + [window.flip(2) for window in windows]]
    found = {next(number for number, one in enumerate(allowed) if torch.allclose(one[0], each, atol=1e-5)) for each in batch}
    assert len(found) > 20


def test_alternating_flip_mirrors_every_other_epoch(spec: Spec) -> None:
    batches = data.Batches(data.load(spec().data, CPU).train, spec("data.flip=alternating").data, 64, torch.Generator().manual_seed(0))
    first, second, third = (batches._flips(epoch) for epoch in range(3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 0.4 < first.float().mean() < 0.6


def test_normalize(spec: Spec) -> None:
    images = data.load(spec().data, CPU).train.images
    by_hand = (images.permute(0, 3, 1, 2) / 255 - torch.tensor(data.CIFAR10_MEAN).view(3, 1, 1)) / torch.tensor(data.CIFAR10_STD).view(
        3, 1, 1
    )
    torch.testing.assert_close(data.Normalize(CPU)(images), by_hand, atol=1e-5, rtol=0)
