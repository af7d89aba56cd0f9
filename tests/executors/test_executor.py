from pathlib import Path
from typing import Any

import pytest

from lrbench.executors.executor import Workspace, build_executor
from lrbench.executors.local import LocalWorkers
from lrbench.spec import ConfigError, DeviceInfo

INLINE, LOCAL = "lrbench.executors.inline.Inline", "lrbench.executors.local.LocalWorkers"
LOCAL_SETTINGS = {"workers": "auto", "checkpoint_seconds": 60.0, "silence_seconds": 300.0}


def _build(folder: Path, target: str, **settings: Any) -> object:
    return build_executor({"name": "mine", "_target_": target, **settings}, Workspace(folder, folder, folder))


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        (INLINE, {}, "executor.checkpoint_seconds"),
        (INLINE, {"checkpoint_seconds": 0.0}, "executor.checkpoint_seconds=0.0"),
        (INLINE, {"checkpoint_seconds": 60.0, "workers": 2}, "executor.workers=2"),
        (LOCAL, {**LOCAL_SETTINGS, "workers": 0}, "executor.workers=0"),
        (LOCAL, {**LOCAL_SETTINGS, "silence_seconds": -1.0}, "executor.silence_seconds=-1.0"),
        ("lrbench.executors.executor.Workspace", {"colour": "red"}, "executor=mine: .*colour"),
        ("lrbench.executors.inline.Outline", {}, "lrbench.executors.inline.Outline"),
    ],
)
def test_invalid_settings(tmp_path: Path, target: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _build(tmp_path, target, **settings)


@pytest.mark.parametrize(
    ("workers", "device", "wanted", "concurrency"),
    [
        ("auto", "cpu", "auto", 8),
        ("auto", "cuda:0", "auto", 4),
        ("auto", "cuda:1", "cuda:1", 1),
        (3, "cuda:0", "auto", 3),
        (3, "cpu", "cpu", 3),
    ],
)
def test_workers_suit_the_device(tmp_path: Path, workers: object, device: str, wanted: str, concurrency: int) -> None:
    executor = _build(tmp_path, LOCAL, **{**LOCAL_SETTINGS, "workers": workers})
    assert isinstance(executor, LocalWorkers)
    assert executor.concurrency(DeviceInfo(device=device, gpus=4, cores=8, bfloat16=False), wanted) == concurrency
    assert executor.pids == []
    executor.close()  # before the preflight
