from collections.abc import Callable
from pathlib import Path

import pytest

from lrbench import loop, results
from lrbench.spec import ConfigError, TrialSpec

Spec = Callable[..., TrialSpec]


def test_a_result_comes_back_as_it_was(spec: Spec, tmp_path: Path) -> None:
    result = loop.train_one(spec())
    path = results.write(tmp_path, result)
    assert path.stem == result.spec.key()
    assert results.read_all(tmp_path) == [result]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("damage", [lambda text: text[: len(text) // 2], lambda text: "{}", lambda text: text.replace('"seed"', '"sead"')])
def test_a_damaged_result_names_its_file(spec: Spec, tmp_path: Path, damage: Callable[[str], str]) -> None:
    path = results.write(tmp_path, loop.train_one(spec()))
    path.write_text(damage(path.read_text()))
    with pytest.raises(ConfigError, match=r"is no result of this version.*Move it away"):
        results.read(path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="out="), results.folder_for_runs(tmp_path / "file" / "runs"):
        pass


def test_a_rejected_config_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError), results.folder_for_runs(tmp_path / "runs" / "quick"):
        raise ConfigError("no")
    assert list(tmp_path.iterdir()) == []
