"""Learning-rate curves: their table, pictures, and text."""

import csv
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lrbench.config.schedulers import configs_of_curves
from lrbench.reporting.curves import draw_curves
from lrbench.schedules.table import schedule_table
from lrbench.spec import ConfigError, TrialSpec
from tests.conftest import ROOT, SMALL

Spec = Callable[..., TrialSpec]
SCHEDULERS = sorted(path.stem for path in (ROOT / "conf" / "scheduler").glob("*.yaml"))


def _rows(path: Path) -> dict[str, list[dict[str, str]]]:
    with path.open(newline="") as file:
        return {
            name: list(rows) for name, rows in itertools.groupby(csv.DictReader(file), key=lambda row: row["scheduler"])
        }


def test_the_table_has_a_row_for_each_step_of_each_scheduler(spec: Spec, tmp_path: Path) -> None:
    changes = ["train.epochs=2.5", "optimizer.lr=0.2"]
    draw_curves([*SMALL, *changes, "schedulers=[cosine,rex]", f"out={tmp_path}"])
    assert (tmp_path / "curves.csv").read_text().startswith("scheduler,step,epoch,lr,momentum\n")
    rows_of = _rows(tmp_path / "curves.csv")
    assert list(rows_of) == ["cosine", "rex"]
    for name, rows in rows_of.items():
        np.testing.assert_array_equal(
            [float(row["lr"]) for row in rows], schedule_table(spec(f"scheduler={name}", *changes)).lr
        )
        assert [int(row["step"]) for row in rows] == list(range(50))
        assert [float(row["epoch"]) for row in rows] == [step / 20 for step in range(50)]
        assert {row["momentum"] for row in rows} == {""}
    pictures = {path.name for path in tmp_path.iterdir()} - {"curves.csv"}
    assert pictures == {f"{name}.{ending}" for name in ("all", "overlay", "cosine", "rex") for ending in ("png", "svg")}


def test_momentum_of_a_scheduler_that_cycles_it(tmp_path: Path) -> None:
    draw_curves([*SMALL, "scheduler=one_cycle", "scheduler.args.cycle_momentum=true", f"out={tmp_path}"])
    rows = _rows(tmp_path / "curves.csv")["one_cycle"]
    assert float(rows[0]["momentum"]) == pytest.approx(0.95)


def test_overrides_of_the_scheduler_apply_to_each(tmp_path: Path) -> None:
    overrides = ["schedulers=[cosine,rex]", "scheduler.interval=epoch", "train.epochs=4"]
    draw_curves([*SMALL, *overrides, f"out={tmp_path}"])
    for rows in _rows(tmp_path / "curves.csv").values():
        assert len(rows) == 80 and len({row["lr"] for row in rows}) == 4


@pytest.mark.parametrize(
    "overrides",
    [["schedulers=rex"], ["schedulers=[rex]"], ["scheduler=rex"], ["scheduler=rex", "scheduler.args.beta=0.25"]],
)
def test_one_scheduler_in_full(overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_curves([*SMALL, *overrides, f"out={tmp_path}"])
    text = capsys.readouterr().out
    assert text.startswith("rex 20 steps, 1 epoch\n") and "⠉" in text
    assert f"args:     beta={'0.25' if len(overrides) > 1 else '0.5'}" in text
    assert "scheduler.args.beta 0 to 0.95" in text and "optimizer.lr 0.05 to 2 (log)" in text


def test_values_outside_the_search_space_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_curves([*SMALL, "scheduler=rex", "optimizer.lr=50", f"out={tmp_path}"])
    assert "optimizer.lr=50" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "live"), [("plateau", True), ("cosine", False)])
def test_a_curve_that_training_may_change_has_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, live: bool
) -> None:
    draw_curves([*SMALL, f"scheduler={name}", f"out={tmp_path}"])
    assert ("note:     the scheduler follows the validation loss" in capsys.readouterr().out) == live


def test_many_schedulers_get_a_line_each_and_their_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_curves([*SMALL, "schedulers=[constant,rex,cosine,linear]", f"out={tmp_path}"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"constant {'█' * 20}     peak 0.5      last 0.5       1 warning"
    assert lines[1].startswith("rex      ███▇")
    assert lines[4].startswith("constant: the last learning rate is 100 % of the peak")
    assert len(lines) == 6


@pytest.mark.slow
def test_all_means_all() -> None:
    assert set(configs_of_curves([*SMALL, "schedulers=all"])) == set(SCHEDULERS)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedulers=[cosin]"], "schedulers=cosin: unknown; did you mean cosine"),
        (["schedulers=[]"], "at least one"),
        (["schedulers=[rex]", "scheduler=cosine"], "must not both be given"),
        (["schedulers=[rex,cosine]", "+scheduler.args.beta=1"], "unknown key scheduler.args.beta"),
        (["schedulers=[rex,step]", "scheduler.interval=day"], "scheduler.interval=day"),
        (["schedulers=[one_cycle]", "scheduler.args.pct_start=2"], "between 0 and 1"),
    ],
)
def test_invalid_overrides_leave_no_files(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        draw_curves([*SMALL, *overrides, f"out={tmp_path / 'new'}"])
    assert not (tmp_path / "new").exists()


def test_the_same_files_twice(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        draw_curves([*SMALL, "schedulers=[cosine,rex]", f"out={tmp_path / folder}"])
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name
