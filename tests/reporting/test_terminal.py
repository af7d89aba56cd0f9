"""Tables and curves as text for a terminal."""

import numpy as np
import pytest
from rich.console import Console

from lrbench.analysis.ranking import rank_schedulers
from lrbench.reporting.terminal import braille_plot, print_ranking, sparkline
from tests.builders import Run, eight, sweep_of


def _printed(capsys: pytest.CaptureFixture[str], run: Run, accuracies: dict[str, list[float]]) -> str:
    print_ranking(Console(soft_wrap=True), rank_schedulers(sweep_of(run, accuracies)))
    return capsys.readouterr().out


def test_the_ranking_is_an_aligned_table_with_its_answer(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _printed(capsys, run, {"cosine": eight(0.9), "constant": eight(0.8, 0.001)}).splitlines()
    # The deviations are 0.002 and 0.00185: 2.3646 of them, over sqrt(8), are 0.00167 and 0.00155.
    assert lines[1:4] == [
        "rank  scheduler   mean   95 % interval  gap to the best  verdict  runs",
        "   1  cosine     90.00  89.83 to 90.17                   best        8",
        "   2  constant   80.00  79.85 to 80.15            10.00  worse       8",
    ]
    assert lines[4].startswith(
        "cosine has the highest mean test accuracy, 90.00 %. cosine is significantly better than"
    )


@pytest.mark.parametrize("seeds", [1, 5])
def test_fewer_than_six_pairs_claim_nothing(run: Run, capsys: pytest.CaptureFixture[str], seeds: int) -> None:
    accuracies = {"cosine": eight(0.9)[:seeds], "constant": eight(0.5)[:seeds], "rex": eight(0.4)[:seeds]}
    text = _printed(capsys, run, accuracies)
    assert "cannot show a difference: at least 6 are needed. All comparisons with cosine are undecided." in text
    assert "1-3" in text


def test_plots_by_hand() -> None:
    assert braille_plot(np.array([0.0, 1.0, 2.0, 3.0]), 2, 1) == ["⡠⠊"]  # a dot for each of four values
    assert braille_plot(np.zeros(4), 2, 1) == ["⣀⣀"]
    assert sparkline(np.linspace(0, 1, 8), 8) == "▁▂▃▄▅▆▇█"
    assert braille_plot(np.array([0.0, 3.0]), 2, 2, ascii_only=True) == [" *", "**"]
