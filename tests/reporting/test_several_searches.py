"""The report of a sweep with several searches."""

import itertools
from pathlib import Path

import pytest
from rich.console import Console

from lrbench.analysis.ranking import rank_schedulers
from lrbench.reporting.report import write_report
from lrbench.reporting.terminal import print_advice
from lrbench.results.provenance import record_start
from lrbench.results.result import TrialResult
from tests.builders import Run, in_search, searches_of, sweep_folder

MEANS = {  # of the searches, in %: an effect of the scheduler, one of the search, and plus or minus 0.3
    "rex": (80.80, 81.20, 80.30, 80.70),
    "sine": (80.15, 81.75, 79.65, 81.25),
    "cosine": (80.20, 81.20, 79.10, 80.10),
    "step": (60.20, 61.20, 60.30, 61.30),
}


def _results(run: Run) -> list[TrialResult]:
    """Four schedulers with four searches: one is best, one equal, one undecided, one is worse.

    The two final runs of a search are half a point below and above its mean. The residuals of all
    sixteen searches are 0.3, with 9 degrees of freedom. So the error of a difference of two
    schedulers is sqrt(16 * 0.3**2 / 9 * 2 / 4) = 0.2828 points.
    """
    accuracies = {name: [[mean / 100 - 0.005, mean / 100 + 0.005] for mean in means] for name, means in MEANS.items()}
    rates = {"rex": [1.9, 1.95, 0.5, 0.5], "cosine": [1.9, 0.5, 0.5, 0.5]}
    return searches_of(run, accuracies, rates=rates, neighbours={"half_rate": -0.015, "double_rate": -0.105})


@pytest.fixture(scope="module")
def text(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    settings = {"searches": 4, "n_trials": 2, "startup_trials": 5, "confirm": 0, "report": {"delta": 0.01}}
    folder = sweep_folder(tmp_path_factory.mktemp("several"), _results(run), **settings)
    record_start(folder, "/somewhere/python -m lrbench.sweep sweep=tiny searches=4 'schedulers=[rex,cosine]'")
    write_report(folder)
    return (folder / "report.md").read_text()


@pytest.mark.parametrize(
    "part",
    [
        "**rex has the highest mean test accuracy, 80.75 %. rex is significantly better than step. sine is equal to "
        "rex within 1.00 points. Undecided, with the mean gap to rex in points: cosine (0.60).**",
        "**Use `rex`**, with `optimizer.lr=1.9` `scheduler.knobs.floor=0`.",
        # The four pairs of final runs have a variance of 0.5 ** 2 * 2, and t(0.975, 4) is 2.776.
        "- This configuration: 80.80 % test accuracy (2 final runs, 95 % interval 79.41 to 82.19 over seeds).",
        "- This scheduler, tuned by a search of 2 trials: 80.75 % (4 searches, 95 % interval ",
        "The accuracy changes at half the peak rate by -1.50 and at twice the peak rate by -10.50 points.",
        "The searches chose peak rates from 0.5 to 1.95.",
        "scheduler = lr_scheduler.",
        "over up to 4 independent searches",
        "so the claims are about schedulers that are tuned by such a search.",
        "after a two-way layout of schedulers and searches",
        "Triangles show the accuracy at half (◁) and at twice (▷) the peak rate.",
        "| rex | 1 | 1 | 60.00 | 81.20 | 2 | `optimizer.lr=1.95` `scheduler.knobs.floor=0` |",
        "4 searches of 2 trials for each scheduler; the first trial has the default configuration, the next 1 is ",
        "1000 to 1001, 3000 to 3001, 5000 to 5001, 7000 to 7001",
        "The intervals cover the luck of the searches and of the final seeds.",
        "4 searches cannot show differences below about",
    ],
)
def test_the_report_says(text: str, part: str) -> None:
    assert part in text


def test_the_note_on_one_search_is_left_out(text: str) -> None:
    assert "There was one search" not in text
    assert "not about the schedulers" not in text


def _table(text: str, column: str) -> dict[str, dict[str, str]]:
    """Return the rows of the first table of a report with this column, by scheduler."""
    lines = text.splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("|") and f" {column} |" in line)
    columns, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in itertools.takewhile(lambda line: line.startswith("|"), lines[first:])
    ]
    name = 1 if columns[0] == "rank" else 0
    return {cells[name]: dict(zip(columns, cells, strict=True)) for cells in rows}


def test_the_ranking_has_verdicts_neighbours_and_ends_of_ranges(text: str) -> None:
    """Two of four searches of rex chose a rate near 2, the end of its range, but one of cosine."""
    names = ["rank", "scheduler", "test accuracy, %", "gap to the best", "verdict"]
    names += ["at half / twice the peak rate, points", "at an end of its range"]
    rows = _table(text, "verdict")
    assert [[cells[name] for name in names] for cells in rows.values()] == [
        ["1-3", "rex", "80.75", "", "best", "-1.50 / -10.50", "lr high"],
        ["1-3", "sine", "80.70", "0.05", "equal within 1.00", "-1.50 / -10.50", ""],
        ["1-3", "cosine", "80.15", "0.60", "undecided", "-1.50 / -10.50", ""],
        ["4", "step", "60.75", "20.00", "worse", "-1.50 / -10.50", ""],
    ]


def test_the_differences_by_hand(text: str) -> None:
    """Of six pairs, the three with step are different, so cosine has the level 0.05 / 3.

    Then t is 2.933, and half of the interval is 2.933 * 0.2828 = 0.83. The p-value of 0.6 / 0.2828
    is 0.063 with 9 degrees of freedom, and three times as high after the correction.
    """
    rows = _table(text, "gap to rex")
    assert list(rows["cosine"].values()) == ["cosine", "0.60", "-0.23 to 1.43", "0.189", "4", "undecided"]
    assert list(rows["sine"].values())[-1] == "equal within 1.00"
    assert list(rows["step"].values())[-3:] == ["< 0.001", "4", "worse"]


def test_what_would_decide(text: str) -> None:
    """Each of 4 more searches has 12 runs of 9 seconds."""
    rows = _table(text, "`searches` that would decide")
    assert [list(cells.values()) for cells in rows.values()] == [["cosine", "0.60", "8", "7.2 min"]]
    commands = text.split("The commands for cosine:")[1].split("```")[1]
    assert commands == "sh\npython -m lrbench.sweep sweep=tiny searches=8 'schedulers=[rex,cosine]'\n"


def test_the_number_of_trials(text: str) -> None:
    """Each search has a default of 50 % and another trial of 60 %, so the best of two has 60 %."""
    rows = _table(text, "k = 1")
    assert list(rows["rex"].values()) == ["rex", "50.00", "60.00", "60.00"]
    assert list(rows["rex"])[1:] == ["k = 1", "k = 2", "k = 4"]
    every = "rex, sine, cosine and step"
    assert f"The highest: with 1 trial {every}; with 2 trials {every}; with 4 trials {every}. The band" in text


def test_the_advice_in_a_terminal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    print_advice(Console(soft_wrap=True), rank_schedulers(_results(run)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Use rex, with optimizer.lr=1.9 scheduler.knobs.floor=0."
    assert lines[1].startswith("- This configuration: 80.80 % test accuracy")
    assert not any("`" in line or "import torch" in line for line in lines)


def test_two_searches_say_that_they_show_nothing(run: Run, tmp_path: Path) -> None:
    results = searches_of(run, {"rex": [[0.8], [0.8]], "step": [[0.6], [0.6]]})
    folder = sweep_folder(tmp_path, results)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "but 2 searches cannot show a difference: at least 3 are needed. All comparisons with rex are" in text
    assert "Nothing is known of the differences to other schedulers" in text


def test_a_confirmed_search_says_how_often_it_trained(run: Run, tmp_path: Path) -> None:
    """The default is the best after a second run: (0.5 + 0.9) / 2 against (0.6 + 0.6) / 2."""
    results = searches_of(run, {"rex": [[0.8], [0.8], [0.8]]}, confirmed={0: 0.9, 1: 0.6})
    for search in range(3):
        results.append(in_search(run("rex", trial=0, seed=1000 + 2000 * search, test=0.7), search))
    folder = sweep_folder(tmp_path, results, searches=3, n_trials=2, confirm=2)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "- This scheduler, tuned by a search of 2 trials and 2 confirmation runs: 70.00 % (3 searches, " in text
    assert "the best 2 trials of a search are trained again before one is chosen" in text
    rex = _table(text, "chosen, validation %")["rex"]
    assert [rex[f"{name}, validation %"] for name in ("default", "chosen")] == ["50.00", "50.00"]
    assert rex["gain"] == "0.00"
    assert "the chosen trial in the search, without the runs that confirm a choice" in text
    assert "so the choice is in part luck" not in text


@pytest.mark.parametrize(
    ("step", "cells"),
    [
        ([[0.65]], ["step", "5.00", "unknown", ""]),
        ([[0.65], [0.68]], ["step", "4.50", "4", "54.0 s"]),  # two more searches of step, with 3 runs of 9 seconds
    ],
)
def test_a_plan_for_a_scheduler_that_lacks_searches(
    run: Run, tmp_path: Path, step: list[list[float]], cells: list[str]
) -> None:
    accuracies = {"rex": [[0.7], [0.72], [0.7], [0.72]], "cosine": [[0.6], [0.62], [0.59], [0.63]], "step": step}
    folder = sweep_folder(tmp_path, searches_of(run, accuracies), startup_trials=5)
    record_start(folder, "/somewhere/python -m lrbench.sweep sweep=tiny searches=4")
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert list(_table(text, "`searches` that would decide")["step"].values()) == cells
    assert ("searches=4 'schedulers=[rex,step]'" in text) == (cells[-1] != "")


def test_a_lucky_search_has_no_claim_in_any_section(run: Run, tmp_path: Path) -> None:
    """In the one search that both have, step is 5 points above rex."""
    accuracies = {"rex": [[0.80], [0.81], [0.80], [0.82]], "step": [[0.85]]}
    folder = sweep_folder(tmp_path, searches_of(run, accuracies))
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "**rex comes first, with 80.75 % mean test accuracy (step has a higher mean, of other searches)" in text
    assert "the best in" not in text


def test_means_without_a_chain_of_shared_searches_are_not_called_adjusted(run: Run, tmp_path: Path) -> None:
    accuracies = {"rex": [[0.80], [0.81], [0.80], []], "sine": [[0.7], [0.7], [0.71], []], "step": [[], [], [], [0.9]]}
    folder = sweep_folder(tmp_path, searches_of(run, accuracies))
    write_report(folder)
    assert "its mean is adjusted" not in (folder / "report.md").read_text()


def test_only_shared_searches_make_a_diagram_of_ranks(run: Run, tmp_path: Path) -> None:
    """Rex and sine share six searches, but all three share only three."""
    accuracies = {
        "rex": [[0.8 + 0.01 * search] for search in range(6)],
        "sine": [[0.7 + 0.01 * search] for search in range(6)],
        "step": [[0.6], [0.62], [0.6]],
    }
    folder = sweep_folder(tmp_path, searches_of(run, accuracies))
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "needs at least 3 schedulers and 6 shared searches or seeds (here 3 and 3)." in text


def test_pruned_defaults_have_no_best_of_k(run: Run, tmp_path: Path) -> None:
    results = [run("rex", "search", 0, 0, validation=[0.1], state="pruned")]
    results += [run("rex", "search", 1, 0, validation=[0.6]), run("rex", seed=1000, test=0.7)]
    folder = sweep_folder(tmp_path, results)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "any k - 1 of the other trials. The band in the figure" in text


def test_ranks_are_over_searches(run: Run, tmp_path: Path) -> None:
    accuracies = {
        name: [[first + 0.001 * search] for search in range(6)]
        for name, first in (("rex", 0.8), ("cosine", 0.7), ("step", 0.6))
    }
    folder = sweep_folder(tmp_path, searches_of(run, accuracies))
    write_report(folder)
    assert "Mean ranks over the searches, 1 is the best." in (folder / "report.md").read_text()
