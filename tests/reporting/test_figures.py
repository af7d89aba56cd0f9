"""The figures of a report: their files, their captions, and the reasons for missing ones."""

import re
from pathlib import Path

import numpy as np
import pytest

from lrbench.analysis.folder import rank_folder
from lrbench.analysis.ranking import Ranking, rank_schedulers
from lrbench.reporting.document import Picture, Text
from lrbench.reporting.figures import COLORS, _final, draw_figures
from tests.builders import Run, eight, searches_of, sweep_of
from tests.conftest import ROOT

FIGURES = ("final", "ranks", "lr", "accuracy", "loss", "best_of", "peak", "slices", "history", "importances")


def test_every_picture_of_a_report_exists(report_folder: Path) -> None:
    text = (report_folder / "report.md").read_text()
    files = re.findall(r"^!\[.+\]\(pictures/(.+)\)$", text, flags=re.MULTILINE)
    assert files == [f"{name}.png" for name in FIGURES]
    for file in files:
        assert (report_folder / "pictures" / file).read_bytes().startswith(b"\x89PNG"), file


@pytest.mark.parametrize("seeds", [1, 5])
def test_a_missing_figure_has_a_reason(run: Run, tmp_path: Path, seeds: int) -> None:
    results = sweep_of(run, {"cosine": eight(0.9)[:seeds], "constant": eight(0.5)[:seeds], "rex": eight(0.4)[:seeds]})
    (tmp_path / "ranks.png").write_bytes(b"of an earlier report")
    blocks = draw_figures(rank_schedulers(results), {}, tmp_path)
    assert list(blocks) == [f"{name}.png" for name in FIGURES]
    needed = "the diagram needs at least 3 schedulers and 6 shared searches or seeds"
    assert blocks["ranks.png"] == Text(f"No critical-difference diagram: {needed} (here 3 and {seeds}).")
    needed = "it needs at least 10 trials per scheduler with different scores"
    assert blocks["importances.png"] == Text(f"No hyperparameter importance: {needed}.")
    reason = "No figure of the validation accuracy: no finished final run has this metric."
    assert blocks["accuracy.png"] == Text(reason)
    pictures = [block.file for block in blocks.values() if isinstance(block, Picture)]
    assert pictures == [file for file in blocks if file not in ("ranks.png", "importances.png", "accuracy.png")]
    assert {path.name for path in tmp_path.iterdir()} == set(pictures)


def test_captions_explain_colours_and_triangles(run: Run, tmp_path: Path) -> None:
    results = sweep_of(run, {"cosine": eight(0.9), "constant": eight(0.5)})
    final = draw_figures(rank_schedulers(results), {}, tmp_path)["final.png"]
    assert isinstance(final, Picture)
    assert final.caption.endswith(" Blue: the best scheduler. Grey: significantly worse.")
    results = [*results[:-1], run("constant", seed=1007, state="diverged")]
    final = draw_figures(rank_schedulers(results), {}, tmp_path)["final.png"]
    assert isinstance(final, Picture)
    assert final.caption.endswith(" A triangle at the edge marks diverged runs.")


def _drawn(ranking: Ranking) -> dict[str, set[object]]:
    """Return the colours of the points and the mean of each scheduler in final.png."""
    (axis,) = _final(ranking).figure.axes
    colors: dict[str, set[object]] = {row.scheduler: set() for row in ranking.rows}
    for line in axis.lines:
        if line.get_marker() == "o":
            place = round(float(np.asarray(line.get_ydata())[0]))
            colors[ranking.rows[place].scheduler].add(line.get_color())
    return colors


def test_an_undecided_scheduler_has_another_colour_than_an_equal_one(run: Run) -> None:
    accuracies = {"rex": eight(0.93), "sine": eight(0.9295, 0.001), "cosine": eight(0.92, 0.02), "step": eight(0.9)}
    ranking = rank_schedulers(sweep_of(run, accuracies))
    assert [row.relation for row in ranking.rows] == ["best", "equal", "undecided", "worse"]
    assert _drawn(ranking) == {row.scheduler: {COLORS[row.relation]} for row in ranking.rows}
    assert _final(ranking).caption.endswith(
        " Blue: the best scheduler and those equal to it within 0.30 points. Orange: undecided. Grey: significantly "
        "worse."
    )
    assert COLORS["equal"] == COLORS["best"]
    assert len({COLORS["equal"], COLORS["undecided"], COLORS["worse"]}) == 3


def test_a_bad_seed_is_no_tie_in_the_picture() -> None:
    """In the sweep at a hot start, exponential is 12 points behind and undecided."""
    drawn = _drawn(rank_folder(ROOT / "sweeps" / "hot_start"))
    assert drawn["exponential"] == {COLORS["undecided"]}
    assert drawn["one_cycle"] == {COLORS["best"]}


def test_triangles_show_the_accuracy_at_other_peak_rates(run: Run) -> None:
    """The mean of cosine is 71 %, and its runs at other rates are 2 points below and 1 above."""
    results = searches_of(run, {"cosine": [[0.70], [0.72]]}, neighbours={"half_rate": -0.02, "double_rate": 0.01})
    results += searches_of(run, {"rex": [[0.6], [0.6]]})
    final = _final(rank_schedulers(results))
    (axis,) = final.figure.axes
    marks = {
        line.get_marker(): (float(np.asarray(line.get_xdata())[0]), float(np.asarray(line.get_ydata())[0]))
        for line in axis.lines
        if line.get_marker() in ("<", ">")
    }
    assert marks == {"<": pytest.approx((69, 0.22)), ">": pytest.approx((72, 0.22))}
    assert final.caption.endswith(" Triangles show the accuracy at half (◁) and at twice (▷) the peak rate.")
