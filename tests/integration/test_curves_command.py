"""`python -m lrbench.curves` as a user starts it."""

from pathlib import Path

from tests.conftest import SMALL, Command


def test_curves_of_two_schedulers(command: Command, tmp_path: Path) -> None:
    process = command("curves", *SMALL, "schedulers=[cosine,constant]")
    assert process.returncode == 0, process.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["curves"]
    assert "warning:  the last learning rate is" in process.stdout


def test_curves_are_drawn_without_a_scheduler_that_the_run_is_too_short_for(command: Command, tmp_path: Path) -> None:
    process = command("curves", *SMALL, "schedulers=[cosine,sequence]", "train.epochs=0.1")
    assert process.returncode == 1
    assert "sequence: not drawn; scheduler.args.parts: each part must have at least one" in process.stdout
    assert (tmp_path / "curves" / "cosine.png").exists()
    assert not (tmp_path / "curves" / "sequence.png").exists()


def test_no_curve_can_be_drawn(command: Command, tmp_path: Path) -> None:
    process = command("curves", *SMALL, "schedulers=[sequence]", "train.epochs=0.1")
    assert process.returncode == 2
    assert process.stderr.startswith("error: scheduler.args.parts: each part must have at least one")
    assert list(tmp_path.iterdir()) == []
