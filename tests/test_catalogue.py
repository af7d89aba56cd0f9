"""The page of all schedulers says what the files, the curves and the sweeps say now, and its code makes the curves that it shows."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from lrbench import catalogue, config, factors, schedules
from tests.conftest import ROOT

FOLDER = ROOT / "conf" / "scheduler"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yaml"))}
COMPOSED = ("product", "sequence")  # have no code by hand: torch has nothing like them
NUMBER = r"-?\d+\.?\d*(?:e-?\d+)?"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    catalogue.write(folder, ROOT / "sweeps")
    return folder


@pytest.mark.xdist_group("catalogue")
def test_the_page_is_current(made: Path) -> None:
    assert (made / "README.md").read_text() == (FOLDER / "README.md").read_text(), "python -m lrbench.catalogue makes it anew"


@pytest.mark.xdist_group("catalogue")
def test_the_pictures_are_current(made: Path) -> None:
    """To a hundredth of a pixel, as another processor may round otherwise."""
    pictures = {path.name for path in (made / "pictures").iterdir()}
    assert pictures == {path.name for path in (FOLDER / "pictures").iterdir()} == {f"{name}.svg" for name in TEXTS}
    for name in pictures:
        new, old = ((folder / "pictures" / name).read_text() for folder in (made, FOLDER))
        assert re.sub(NUMBER, "", new) == re.sub(NUMBER, "", old), name
        numbers = [[float(number) for number in re.findall(NUMBER, text)] for text in (new, old)]
        np.testing.assert_allclose(numbers[0], numbers[1], atol=0.01, err_msg=name)


@pytest.mark.parametrize("name", TEXTS)
def test_every_scheduler_explains_itself(name: str) -> None:
    summary, labels = catalogue.head(TEXTS[name])
    assert summary.endswith(".") and labels["Group"][0] in catalogue.GROUPS
    assert all(len(lines) == 1 for label, lines in labels.items() if label not in ("Trap", "LRBench"))
    if "Like" in labels:
        assert set(labels) <= {"Group", "Like", "LRBench"} and "Like" not in catalogue.head(TEXTS[labels["Like"][0]])[1]
    else:
        assert {"Formula", "Recommended", "Use", "Avoid"} <= set(labels)
        assert labels["Recommended"][0].partition(";")[0] in ("yes", "sometimes", "rarely")
    for argument in catalogue.arguments(TEXTS[name]):
        assert argument.meaning, argument.key


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in COMPOSED])
def test_the_code_makes_the_curve(name: str) -> None:
    """The factor of LambdaLR is multiplied with the peak by torch: hence a tolerance."""
    spec = config.parse(config.load("config", [*catalogue.SETTING, f"scheduler={name}"]))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=catalogue.PEAK, momentum=0.9)
    known: dict[str, Any] = {"lr_scheduler": lr_scheduler, "optimizer": optimizer, "factors": factors, "np": np, "math": math}
    exec(catalogue.code(spec), known)
    scheduler, rates = known["scheduler"], []
    for _ in range(spec.train.total_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([1.0] if name == "plateau" and len(rates) == 1 else [0.5 ** len(rates)] if name == "plateau" else []))
    np.testing.assert_allclose(rates, schedules.table(spec).lr, rtol=0, atol=1e-12 * catalogue.PEAK)


def test_the_names_of_lrbench() -> None:
    policies = [policy for text in TEXTS.values() for policy in catalogue.head(text)[1].get("LRBench", [])]
    waves = ("TRI", "DTRI", "SIN", "DSIN", "COS", "UPCOS", "RSW", "SINRSW", "COSRSW")
    assert sorted(policies) == sorted(
        ["FIX", "STEP", "NSTEP", "EXP", "INV", "POLY", "SIG", *(wave + kind for wave in waves for kind in ("", "2", "EXP"))]
    )


def test_links_within_the_page_lead_somewhere() -> None:
    page = (FOLDER / "README.md").read_text()
    headings = set(re.findall(r"^#+ (\S+)$", page, flags=re.MULTILINE))
    linked = re.findall(r"\]\(#([^)]+)\)", page)
    assert linked and set(linked) <= headings


@pytest.mark.parametrize("text", ["# A.\n# Colour: red\nname: a\n", "# A.\n# without a label\nname: a\n"])
def test_a_head_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="the labels are Group, Like"):
        catalogue.head(text)


def test_keys_become_code() -> None:
    text = "Set scheduler.args.x=1.5, not `scheduler.knobs.y`; train.epochs is else"
    assert catalogue._keys_as_code(text) == "Set `scheduler.args.x=1.5`, not `scheduler.knobs.y`; `train.epochs` is else"
