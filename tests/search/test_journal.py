from pathlib import Path

import pytest

from lrbench.search.journal import open_journal
from tests.search.studies import RANDOM, Search, Values, ask_and_tell, open_study, search_of


@pytest.mark.parametrize("kept", [0.3, 0.7, 1.0])
def test_a_torn_journal_resumes(tmp_path: Path, search: Search, kept: float) -> None:
    """The cut may be in the middle of a line, or between two lines of the same trial."""
    whole = ask_and_tell(tmp_path / "j", search, count=6)
    text = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(text[: int(kept * len(text)) - 3])
    (tmp_path / "j.lock").touch()
    assert ask_and_tell(tmp_path / "j", search, count=6) == whole


@pytest.mark.parametrize("damage", [b"{}}\n", b"\x00\xff\n", b"not JSON\n"])
def test_a_damaged_journal_is_set_aside(
    tmp_path: Path, search: Search, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = ask_and_tell(tmp_path / "j", search, count=6)
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(b"".join([*lines[:4], damage, *lines[4:]]))
    assert ask_and_tell(tmp_path / "j", search, count=6) == whole
    assert (tmp_path / "j.before").exists()
    assert capsys.readouterr().out == "j is damaged; rebuilt from the results (old file: j.before)\n"


def test_opening_a_whole_journal_changes_nothing(tmp_path: Path, search: Search) -> None:
    ask_and_tell(tmp_path / "j", search, count=2)
    before = (tmp_path / "j").read_bytes()
    open_journal(tmp_path / "j", {"s": search[0]}, {})
    assert (tmp_path / "j").read_bytes() == before


def test_a_journal_of_another_scheduler_is_set_aside(tmp_path: Path, search: Search) -> None:
    """Its study has the name of this scheduler."""
    ask_and_tell(tmp_path / "j", search_of("cosine_decaying_restarts"), 3, RANDOM)
    assert ask_and_tell(tmp_path / "j", search, count=3) == ask_and_tell(tmp_path / "whole", search, count=3)
    assert (tmp_path / "j.before").exists()


def test_a_journal_that_disagrees_with_the_runs_is_set_aside(
    tmp_path: Path, search: Search, capsys: pytest.CaptureFixture[str]
) -> None:
    ask_and_tell(tmp_path / "j", search, count=3)
    other: Values = {"optimizer.lr": 0.25, "scheduler.knobs.cycles": 3, "scheduler.args.T_mult": 1}
    study = open_study(tmp_path / "j", search, known={1: other})
    study.ask(0)
    assert study.ask(1) == other
    assert "j disagrees with the finished runs" in capsys.readouterr().out
