import hashlib
import multiprocessing
from pathlib import Path

import pytest
import torch

from lrbench.config.compose import load_config, parse_spec
from lrbench.config.paths import data_root
from lrbench.data import cifar10 as cifar10_module
from lrbench.data.cifar10 import DOWNLOADS, SHA256, _from_own_files, _read_cache
from lrbench.data.dataset import Arrays, load_dataset
from lrbench.spec import ConfigError, DataSpec
from lrbench.text import Log
from lrbench.training.train import train_one

CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def cifar10() -> DataSpec:
    """CIFAR-10 from the default cache, which is filled first if it is empty."""
    spec = parse_spec(load_config("config", ["data.train_images=null"])).data
    load_dataset(spec, CPU, data_root())
    return spec


def test_cifar10_has_its_sums_and_its_split(cifar10: DataSpec) -> None:
    loaded = load_dataset(cifar10, CPU, data_root())
    assert [len(part) for part in (loaded.train, loaded.holdout, loaded.test)] == [45_000, 5_000, 10_000]
    whole = torch.cat([loaded.train.images, loaded.holdout.images]).numpy()
    assert hashlib.sha256(whole.tobytes()).hexdigest() == SHA256["x_train"]
    assert torch.bincount(loaded.test.labels).tolist() == [1000] * 10


@pytest.mark.slow
def test_one_short_run_on_cifar10_reaches_45_percent(cifar10: DataSpec) -> None:
    result = train_one(parse_spec(load_config("config", ["device=cpu", "train.threads=1"])))
    assert result.last("test/accuracy") >= 0.45
    assert abs(result.last("test/accuracy") - result.last("val/accuracy")) < 0.05


@pytest.mark.slow
def test_a_damaged_cache_is_found_and_made_again(cifar10: DataSpec, tmp_path: Path) -> None:
    good = (data_root() / "cifar10.npz").read_bytes()
    for damaged in (good[: len(good) // 2], good[:1_000_000] + b"\xff" * 9 + good[1_000_009:], b""):
        (tmp_path / "cifar10.npz").write_bytes(damaged)
        lines: list[str] = []
        assert _read_cache(tmp_path / "cifar10.npz", lines.append) is None
        assert "is damaged and will be made again" in lines[0]


def test_files_of_the_original_set_are_read(tmp_path: Path) -> None:
    """A wrong file has another MD5 sum, so torchvision refuses it."""
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"no pickle")
    with pytest.raises(RuntimeError, match="not found or corrupted"):
        _from_own_files(tmp_path, print)


def test_without_any_source_the_message_lists_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(root: Path, log: Log) -> Arrays:
        raise OSError("no route to host")

    monkeypatch.setattr(cifar10_module, "DOWNLOADS", (DOWNLOADS[0], ("torchvision", unreachable), DOWNLOADS[2]))
    monkeypatch.setenv("PATH", str(tmp_path))
    spec = parse_spec(load_config("config", [])).data
    with pytest.raises(ConfigError) as raised:
        load_dataset(spec, CPU, tmp_path, lambda text: None)
    for part in ("your own files", "no route to host", "npm is not on the PATH", "by hand", "data=synthetic"):
        assert part in str(raised.value)
    assert not (tmp_path / "cifar10.npz").exists()


def _load(spec: DataSpec) -> None:
    load_dataset(spec, CPU, data_root())


@pytest.mark.slow
def test_processes_that_start_together_share_one_cache(cifar10: DataSpec) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_load, [cifar10] * 2)
