"""`python -m lrbench.curves` as a user starts it."""

from pathlib import Path

from tests.conftest import SMALL, Command


def test_curves_of_two_schedulers(command: Command, tmp_path: Path) -> None:
    process = command("curves", *SMALL, "schedulers=[cosine,constant]")
    assert process.returncode == 0, process.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["curves"]
    assert "warning:  the last learning rate is" in process.stdout
