"""The figures of a report: their files, their captions, and the reasons for missing ones."""

import re
from pathlib import Path

import pytest

from lrbench.analysis.ranking import rank_schedulers
from lrbench.reporting.document import Picture, Text
from lrbench.reporting.figures import draw_figures
from tests.builders import Run, eight, sweep_of

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
    assert "Blue: the best scheduler and those equal to it within 0.30 points. Orange: undecided." in final.caption
    results = [*results[:-1], run("constant", seed=1007, state="diverged")]
    final = draw_figures(rank_schedulers(results), {}, tmp_path)["final.png"]
    assert isinstance(final, Picture)
    assert final.caption.endswith(" A triangle at the edge marks diverged runs.")
