"""Rules for imports between rooms, for the use of libraries, and for links."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lrbench.config.targets import locate
from tests.conftest import ROOT

NOUNS = {"spec", "text", "factors", "signals", "command_line", "__version__", "conf", "sweeps"}  # for every room
ROOMS = {  # each room in the order of the data flow, and the rooms before it that it may import
    "config": set(),
    "results": set(),
    "schedules": {"config"},
    "data": {"config"},
    "models": {"data"},
    "training": {"config", "results", "schedules", "data"},
    "search": {"config", "results"},
    "executors": {"config", "results", "training"},
    "analysis": {"results"},
    "reporting": {"config", "results", "schedules", "search", "analysis"},
    "tracking": {"results", "analysis", "reporting"},
    "catalogue": {"config", "results", "schedules", "search", "analysis", "reporting"},
    "orchestration": {"config", "results", "data", "training", "search", "executors"}
    | {"analysis", "reporting", "tracking"},
}
ONLY_IN = {  # a library, and the modules or rooms that may import it
    "hydra": {"config", "cli", "catalogue.__main__"},
    "optuna": {"search"},
    "mlflow": {"tracking"},
    "matplotlib": {"reporting.plots"},
    "jinja2": {"reporting"},
    "schedulefree": {"training.schedule_free"},
}


def _modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / "lrbench").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT / "lrbench").with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


MODULES = dict(_modules())


def _imports(path: Path) -> set[str]:
    """Return the dotted names that a module imports, at its top or in a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _imports_of_lrbench(path: Path) -> set[str]:
    """Return the first part of each name that a module imports from lrbench."""
    return {name.split(".")[1] for name in _imports(path) if name.startswith("lrbench.")}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_before_it(room: str) -> None:
    imported = set().union(
        *(_imports_of_lrbench(path) for name, path in MODULES.items() if name.startswith(f"{room}."))
    )
    allowed = ROOMS[room] | NOUNS | {room}
    assert imported <= allowed, imported - allowed
    rooms = list(ROOMS)
    assert ROOMS[room] <= set(rooms[: rooms.index(room)])


@pytest.mark.parametrize("noun", sorted(NOUNS & {name for name in MODULES if "." not in name}))
def test_a_noun_imports_no_room(noun: str) -> None:
    assert _imports_of_lrbench(MODULES[noun]) <= NOUNS


def test_the_table_names_every_room() -> None:
    assert {path.parent.name for path in (ROOT / "lrbench").glob("*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_to_its_modules_alone(library: str) -> None:
    users = {
        name for name, path in MODULES.items() if any(imported.split(".")[0] == library for imported in _imports(path))
    }
    strangers = {
        user for user in users if not any(user == known or user.startswith(f"{known}.") for known in ONLY_IN[library])
    }
    assert users
    assert not strangers


@pytest.mark.parametrize("name", MODULES)
def test_private_attributes_of_libraries_stand_in_one_module(name: str) -> None:
    attributes = {
        ast.unparse(node)
        for node in ast.walk(ast.parse(MODULES[name].read_text()))
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr)
    }
    private = {text for text in attributes if not text.startswith(("self._", "cls._")) and text != "os._exit"}
    assert bool(private) == (name == "config.omegaconf_internals"), private


@pytest.mark.parametrize("path", sorted(ROOT.glob("sweeps/*/results.jsonl")), ids=lambda path: path.parent.name)
def test_the_targets_of_committed_results_can_be_imported(path: Path) -> None:
    targets = set(re.findall(r'"_target_":"([^"]+)"', path.read_text()))
    assert any(target.startswith("lrbench.") for target in targets)
    for target in targets:
        assert callable(locate(target))


@pytest.mark.parametrize(
    "path",
    [path for part in ("*.md", "conf/**/*.md", "sweeps/**/*.md") for path in sorted(ROOT.glob(part))],
    ids=lambda path: path.name,
)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_the_lock_file_pins_with_hashes_and_holds_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text
    pins = re.split(r"\n(?=[a-zA-Z])", text.strip())
    assert len(pins) > 100
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)
