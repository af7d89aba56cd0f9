import sys
from pathlib import Path

import pytest

from lrbench.command_line import command_line


@pytest.mark.parametrize(
    ("argv", "options"),
    [([], ""), (["--config-dir", "own"], " --config-dir own"), (["-cd", "my own"], " --config-dir 'my own'")],
)
def test_a_command_line_to_copy(argv: list[str], options: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", *argv])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert command_line("lrbench.sweep", ["name=a b"]) == f"bin/python -m lrbench.sweep{options} 'name=a b'"
    monkeypatch.setattr(sys, "executable", "/elsewhere/python")
    assert command_line("lrbench.sweep", []) == f"/elsewhere/python -m lrbench.sweep{options}"
