import pytest
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError

from lrbench.config.compose import group_options, load_config
from lrbench.config.sweep_files import SweepSource
from tests.conftest import ROOT

FILES = sorted(path.stem for path in (ROOT / "sweeps").glob("*.yaml"))


@pytest.fixture
def source() -> SweepSource:
    return SweepSource("lrbench", "sweeps://files")


def test_the_group_has_the_files_of_the_folder() -> None:
    assert "quick" in FILES
    assert group_options("sweep") == FILES


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_a_sweep(name: str) -> None:
    assert load_config("sweep", [f"sweep={name}"]).name.partition("-")[0] == name  # budgets-2.0, of 2 epochs


def test_without_a_choice_the_sweep_is_quick() -> None:
    assert load_config("sweep", []) == load_config("sweep", ["sweep=quick"])


def test_the_source_has_one_group(source: SweepSource) -> None:
    assert source.available()
    assert source.is_group("") and source.is_group("sweep")
    assert not source.is_group("scheduler")
    assert source.is_config("sweep/quick") and source.is_config("sweep/quick.yaml")
    assert not source.is_config("sweep/quik") and not source.is_config("quick")


@pytest.mark.parametrize(
    ("path", "kind", "names"),
    [
        ("", None, ["sweep"]),
        ("", ObjectType.GROUP, ["sweep"]),
        ("", ObjectType.CONFIG, []),
        ("sweep", None, FILES),
        ("sweep", ObjectType.CONFIG, FILES),
        ("sweep", ObjectType.GROUP, []),
    ],
)
def test_the_source_lists(source: SweepSource, path: str, kind: ObjectType | None, names: list[str]) -> None:
    assert source.list(path, kind) == names


def test_a_file_sets_keys_of_the_root(source: SweepSource) -> None:
    loaded = source.load_config("sweep/quick.yaml")
    assert loaded.header == {"package": "_global_"}
    assert loaded.config["name"] == "quick"


def test_a_file_that_does_not_exist(source: SweepSource) -> None:
    with pytest.raises(ConfigLoadError, match="sweep/quik"):
        source.load_config("sweep/quik")
