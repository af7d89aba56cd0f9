"""Result files: complete or not at all, and a clear error for a file that is not a result."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lrbench.results.files import (
    partial_path,
    read_lines,
    read_result,
    read_results,
    writable_folder,
    write_bytes,
    write_lines,
    write_result,
)
from lrbench.spec import ConfigError
from lrbench.training.train import train_one
from tests.builders import Run
from tests.conftest import Spec


def test_a_result_is_read_as_it_was_written(spec: Spec, tmp_path: Path) -> None:
    result = train_one(spec())
    path = write_result(tmp_path, result)
    assert path == tmp_path / f"{result.spec.key()}.json"
    assert read_results(tmp_path) == [result]
    assert list(tmp_path.iterdir()) == [path]


def test_results_are_read_in_the_order_of_their_file_names(run: Run, tmp_path: Path) -> None:
    results = [run(name, seed=seed) for name in ("rex", "cosine") for seed in (1001, 1000)]
    names = sorted(write_result(tmp_path, result).stem for result in results)
    assert [result.spec.key() for result in read_results(tmp_path)] == names


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda text: text[: len(text) // 2], "Invalid JSON"),
        (lambda text: "{}", "spec: Field required"),
        (lambda text: text.replace('"seed":1000', '"sead":1000'), "spec.seed: Field required"),
        (lambda text: text.replace('"state":"finished"', '"state":"lost"'), "state: Input should be 'finished'"),
    ],
    ids=["cut short", "empty", "unknown key", "unknown state"],
)
def test_the_error_for_an_invalid_result_says_what_to_do(
    run: Run, tmp_path: Path, damage: Callable[[str], str], problem: str
) -> None:
    path = write_result(tmp_path, run(test=0.7))
    path.write_text(damage(path.read_text()))
    with pytest.raises(ConfigError) as error:
        read_result(path)
    message = str(error.value)
    assert message.startswith(f"{path}: must be a result of this version of lrbench; {problem}")
    assert message.endswith("Move it away to continue.")


def test_json_lines_keep_the_last_values_and_the_test_accuracy(run: Run, tmp_path: Path) -> None:
    results = [run(seed=seed, validation=[0.4, 0.5, 0.6], test=[0.5, 0.9, 0.8]) for seed in (1000, 1001)]
    write_lines(tmp_path / "results.jsonl", results)
    lines = read_lines(tmp_path / "results.jsonl")
    assert [line.spec for line in lines] == [result.spec for result in results]
    for line, result in zip(lines, results, strict=True):
        assert line.curves["test/accuracy"] == result.curves["test/accuracy"]
        assert line.curves["val/accuracy"].values == [0.6]
        assert line.curves["lr"].steps == [79]
        assert line.last("val/accuracy") == result.last("val/accuracy")


def test_json_lines_do_not_change_when_they_are_written_again(run: Run, tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    write_lines(first, [run(validation=[0.4, 0.6], test=[0.5, 0.8])])
    write_lines(second, read_lines(first))
    assert second.read_bytes() == first.read_bytes()


def test_write_bytes_creates_folders_and_replaces_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_write_bytes_keeps_the_old_file_if_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left on device") as error:
        write_bytes(path, b"new")
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"old"
    assert not partial_path(path).exists()


def test_a_partial_file_is_not_read_as_a_result(run: Run, tmp_path: Path) -> None:
    path = write_result(tmp_path, run(test=0.7))
    path.rename(partial_path(path))
    assert read_results(tmp_path) == []


def test_a_folder_inside_a_file_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "runs"
    with pytest.raises(ConfigError, match=f"out={folder}: must be a writable folder"), writable_folder(folder):
        pass


def test_a_writable_folder_stays_empty(tmp_path: Path) -> None:
    with writable_folder(tmp_path / "runs" / "quick"):
        pass
    assert list((tmp_path / "runs" / "quick").iterdir()) == []


def test_an_invalid_config_removes_the_new_folders(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="invalid"), writable_folder(tmp_path / "runs" / "quick"):
        raise ConfigError("invalid")
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_config_keeps_the_folders_that_existed(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "file").write_text("kept")
    for folder in (tmp_path / "runs", tmp_path / "runs" / "quick"):
        with pytest.raises(ConfigError, match="invalid"), writable_folder(folder):
            raise ConfigError("invalid")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["file"]


def test_an_invalid_config_keeps_a_new_folder_with_results(run: Run, tmp_path: Path) -> None:
    """A late mistake, such as an invalid value that a search samples, costs no results."""
    folder = tmp_path / "runs" / "quick"

    def start() -> None:
        with writable_folder(folder):
            write_result(folder / "trials", run())
            raise ConfigError("invalid")

    with pytest.raises(ConfigError, match="invalid"):
        start()
    assert len(read_results(folder / "trials")) == 1


def test_another_error_keeps_the_new_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), writable_folder(tmp_path / "runs"):
        raise RuntimeError("a worker died")
    assert (tmp_path / "runs").is_dir()
