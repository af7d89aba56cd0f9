import csv
import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lrbench import curves, schedules
from lrbench.spec import ConfigError, TrialSpec
from tests.conftest import ROOT, SMALL

Spec = Callable[..., TrialSpec]
SCHEDULERS = sorted(path.stem for path in (ROOT / "conf" / "scheduler").glob("*.yaml"))


def _rows(path: Path) -> dict[str, list[dict[str, str]]]:
    with path.open(newline="") as file:
        return {name: list(rows) for name, rows in itertools.groupby(csv.DictReader(file), key=lambda row: row["scheduler"])}


def test_the_table_has_a_row_for_each_step_of_each_scheduler(spec: Spec, tmp_path: Path) -> None:
    changes = ["train.epochs=2.5", "optimizer.lr=0.2"]
    curves.draw([*SMALL, *changes, "schedulers=[cosine,rex]", f"out={tmp_path}"])
    assert (tmp_path / "curves.csv").read_text().startswith("scheduler,step,epoch,lr,momentum\n")
    found = _rows(tmp_path / "curves.csv")
    assert list(found) == ["cosine", "rex"]
    for name, rows in found.items():
        np.testing.assert_array_equal([float(row["lr"]) for row in rows], schedules.table(spec(f"scheduler={name}", *changes)).lr)
        assert [int(row["step"]) for row in rows] == list(range(50))
        assert [float(row["epoch"]) for row in rows] == [step / 20 for step in range(50)]
        assert {row["momentum"] for row in rows} == {""}
    pictures = {path.name for path in tmp_path.iterdir()} - {"curves.csv"}
    assert pictures == {f"{name}.{ending}" for name in ("all", "overlay", "cosine", "rex") for ending in ("png", "svg")}


def test_momentum_where_the_scheduler_cycles_it(tmp_path: Path) -> None:
    curves.draw([*SMALL, "scheduler=one_cycle", "scheduler.args.cycle_momentum=true", f"out={tmp_path}"])
    rows = _rows(tmp_path / "curves.csv")["one_cycle"]
    assert float(rows[0]["momentum"]) == pytest.approx(0.95)


def test_changes_of_the_scheduler_apply_to_each(tmp_path: Path) -> None:
    chosen = ["schedulers=[cosine,rex]", "scheduler.interval=epoch", "train.epochs=4"]
    curves.draw([*SMALL, *chosen, f"out={tmp_path}"])
    for rows in _rows(tmp_path / "curves.csv").values():
        assert len(rows) == 80 and len({row["lr"] for row in rows}) == 4


@pytest.mark.parametrize(
    "given", [["schedulers=rex"], ["schedulers=[rex]"], ["scheduler=rex"], ["scheduler=rex", "scheduler.args.beta=0.25"]]
)
def test_one_scheduler_in_full(given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curves.draw([*SMALL, *given, f"out={tmp_path}"])
    printed = capsys.readouterr().out
    assert "rex" in printed and "⠉" in printed
    assert f"args:     beta={'0.25' if len(given) > 1 else '0.5'}" in printed
    assert "scheduler.args.beta 0 to 0.95" in printed and "optimizer.lr 0.05 to 2 (log)" in printed


def test_what_is_no_point_of_the_search_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curves.draw([*SMALL, "scheduler=rex", "optimizer.lr=50", f"out={tmp_path}"])
    assert "optimizer.lr=50" in capsys.readouterr().out


def test_of_many_a_line_each_and_the_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curves.draw([*SMALL, "schedulers=[constant,rex,cosine,linear]", f"out={tmp_path}"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"constant {'█' * 20}     peak 0.5      last 0.5       1 finding"
    assert lines[1].startswith("rex      ███▇")
    assert lines[4].startswith("constant: it never decays")
    assert len(lines) == 6


def test_all_means_all() -> None:
    assert set(curves._configs([*SMALL, "schedulers=all"])) == set(SCHEDULERS)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedulers=[cosin]"], "schedulers=cosin: unknown; did you mean cosine"),
        (["schedulers=[]"], "at least one"),
        (["schedulers=[rex]", "scheduler=cosine"], "one of the two"),
        (["schedulers=[rex,cosine]", "+scheduler.args.beta=1"], "unknown key scheduler.args.beta"),
        (["schedulers=[rex,step]", "scheduler.interval=day"], "scheduler.interval=day"),
        (["schedulers=[one_cycle]", "scheduler.args.pct_start=2"], "between 0 and 1"),
    ],
)
def test_what_cannot_be_drawn_leaves_nothing(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        curves.draw([*SMALL, *overrides, f"out={tmp_path / 'new'}"])
    assert not (tmp_path / "new").exists()


def test_a_plot_by_hand() -> None:
    assert curves.plot(np.array([0.0, 1.0, 2.0, 3.0]), 2, 1) == ["⡠⠊"]  # a dot for each of four values
    assert curves.plot(np.zeros(4), 2, 1) == ["⣀⣀"]
    assert curves.sparkline(np.linspace(0, 1, 8), 8) == "▁▂▃▄▅▆▇█"


def test_the_same_pictures_twice(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        curves.draw([*SMALL, "schedulers=[cosine,rex]", f"out={tmp_path / folder}"])
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_as_a_command(command: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path) -> None:
    done = command("curves", *SMALL, "schedulers=[cosine,constant]")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["curves"]
    assert "finding:  it never decays" in done.stdout
