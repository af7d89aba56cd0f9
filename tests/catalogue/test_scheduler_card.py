"""The documentation in the comments of each scheduler's file."""

import re

import pytest

from lrbench.catalogue import page as catalogue
from lrbench.catalogue.scheduler_card import Argument, parse_card
from tests.conftest import ROOT

TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "conf" / "scheduler").glob("*.yaml"))}
CARDS = {name: parse_card(name, text) for name, text in TEXTS.items()}
WAVES = ("TRI", "DTRI", "SIN", "DSIN", "COS", "UPCOS", "RSW", "SINRSW", "COSRSW")
POLICIES = ["FIX", "STEP", "NSTEP", "EXP", "INV", "POLY", "SIG"]
POLICIES += [wave + kind for wave in WAVES for kind in ("", "2", "EXP")]


@pytest.mark.parametrize("name", TEXTS)
def test_every_scheduler_is_documented(name: str) -> None:
    card = CARDS[name]
    assert card.first("Group") in catalogue.GROUPS
    if "Like" in card.labels:
        assert set(card.labels) <= {"Group", "Like", "LRBench"}
        assert "Like" not in CARDS[card.first("Like")].labels
    else:
        assert card.first("Recommended").partition(";")[0] in ("yes", "sometimes", "rarely")
    for argument in card.arguments:
        assert argument.meaning, argument.key


def test_all_policies_of_lrbench_are_named() -> None:
    policies = [policy for card in CARDS.values() for policy in card.labels.get("LRBench", [])]
    assert sorted(policies) == sorted(POLICIES)


def test_a_card() -> None:
    text = "# A line.\n#\n# Group: decay\n# Like: rex\nname: line\nargs:\n  power: 1.0 # of the line,\n  # continued\n"
    card = parse_card("line", text)
    assert (card.summary, card.first("Like"), card.first("LRBench")) == ("A line.", "rex", "")
    assert card.arguments == [Argument("scheduler.args.power", "1.0", "of the line,")]


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("# A line.\n#\n# Gruop: decay\n", "'Gruop: decay' must start with one of Group, Like"),
        ("# A line.\n# no label\n", "'no label' must start with one of Group, Like"),
        ("# A line\n#\n# Group: decay\n# Like: rex\n", "the summary must end with a period"),
        ("# A line.\n#\n# Group: decay\n", "needs the labels Avoid, Formula, Recommended, Use"),
        ("# A line.\n#\n# Like: rex\n# Group: decay\n", "must have its labels in the order Group, Like"),
        ("# A line.\n#\n# Group: decay\n# Like: rex\n# Like: step\n", "must have one line of Like"),
    ],
)
def test_a_head_that_breaks_the_schema_is_an_error(head: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^line\.yaml: .*{re.escape(message)}"):
        parse_card("line", f"{head}name: line\n")
