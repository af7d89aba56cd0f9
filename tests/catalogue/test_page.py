"""The page of all schedulers is current with the config files, the curves and the sweeps."""

import re
from pathlib import Path

import numpy as np
import pytest

from lrbench.catalogue import page
from tests.conftest import ROOT

FOLDER = ROOT / "conf" / "scheduler"
NAMES = [path.stem for path in sorted(FOLDER.glob("*.yaml"))]
NUMBER = r"-?\d+\.?\d*(?:e-?\d+)?"


@pytest.fixture(scope="module")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    page.write(folder, ROOT / "sweeps")
    return folder


@pytest.mark.slow
def test_the_page_is_current(new_folder: Path) -> None:
    """Run `python -m lrbench.catalogue` if this fails."""
    assert (new_folder / "README.md").read_text() == (FOLDER / "README.md").read_text()


@pytest.mark.slow
def test_the_pictures_are_current(new_folder: Path) -> None:
    """To a hundredth of a pixel, because another processor may round differently."""
    pictures = {path.name for path in (new_folder / "pictures").iterdir()}
    assert pictures == {path.name for path in (FOLDER / "pictures").iterdir()} == {f"{name}.svg" for name in NAMES}
    for name in pictures:
        new, committed = ((folder / "pictures" / name).read_text() for folder in (new_folder, FOLDER))
        assert re.sub(NUMBER, "", new) == re.sub(NUMBER, "", committed), name
        numbers = [[float(number) for number in re.findall(NUMBER, text)] for text in (new, committed)]
        np.testing.assert_allclose(numbers[0], numbers[1], atol=0.01, err_msg=name)


def test_links_within_the_page_have_a_heading() -> None:
    text = (FOLDER / "README.md").read_text()
    headings = set(re.findall(r"^#+ (\S+)$", text, flags=re.MULTILINE))
    linked = re.findall(r"\]\(#([^)]+)\)", text)
    assert linked and set(linked) <= headings


def test_keys_become_code() -> None:
    text = "Set scheduler.args.x=1.5, not `scheduler.knobs.y`; train.epochs is else"
    assert page._keys_as_code(text) == "Set `scheduler.args.x=1.5`, not `scheduler.knobs.y`; `train.epochs` is else"
