"""What holds the project together: which module may import which, and that the documents' links lead somewhere."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

# No module imports one that stands below it here.
ORDER = [
    "formula", "factors", "spec", "resolvers", "config", "cli", "results", "provenance", "stats", "comparison", "blocks",
    "circumstances", "sections", "repeats", "side_by_side", "data", "models", "device", "schedules", "checks", "checkpoints",
    "optimizers", "passes", "record", "trainer", "loop", "examination", "verify", "search", "pictures", "figures", "views", "store",
    "tracking", "report", "catalogue", "display", "ui", "sync", "executors", "worker", "plan", "contender", "preview", "curves",
    "train", "sweep",
]  # fmt: skip
ONLY_IN = {
    "optuna": {"search"},
    "mlflow": {"store"},
    "matplotlib": {"pictures"},
    "rich": {"curves", "display", "preview", "report", "sweep", "train"},
}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


@pytest.mark.parametrize("module", ORDER)
def test_modules_import_only_those_above(module: str) -> None:
    imported = {name.split(".")[1] for name in _imports(ROOT / "lrbench" / f"{module}.py") if name.startswith("lrbench.")} - {"__version__"}
    allowed = set(ORDER[: ORDER.index(module)])
    assert imported <= allowed | {"conf", "sweeps"}, imported - allowed


def test_the_order_names_every_module() -> None:
    assert {path.stem for path in (ROOT / "lrbench").glob("*.py")} - {"__init__"} == set(ORDER)


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_to_its_modules_alone(library: str) -> None:
    users = {path.stem for path in (ROOT / "lrbench").glob("*.py") if any(name.split(".")[0] == library for name in _imports(path))}
    assert users == ONLY_IN[library]


@pytest.mark.parametrize(
    "path", [path for part in ("*.md", "conf/**/*.md", "sweeps/**/*.md") for path in sorted(ROOT.glob(part))], ids=lambda path: path.name
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
