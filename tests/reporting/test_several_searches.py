"""The report of a sweep with several searches."""

from pathlib import Path

import pytest
from rich.console import Console

from lrbench.analysis.ranking import rank_schedulers
from lrbench.reporting.report import write_report
from lrbench.reporting.terminal import print_advice
from lrbench.results.provenance import record_start
from lrbench.results.result import TrialResult
from tests.builders import Run, in_search, searches_of, sweep_folder


def _results(run: Run) -> list[TrialResult]:
    """Four schedulers with four searches: one is best, one close, one scatters, one is worse."""
    accuracies = {
        "rex": [[0.80, 0.81], [0.81, 0.82], [0.80, 0.80], [0.81, 0.81]],
        "cosine": [[0.79, 0.80], [0.82, 0.82], [0.795, 0.80], [0.80, 0.805]],
        "step": [[0.60, 0.61], [0.62, 0.61], [0.60, 0.60], [0.61, 0.62]],
        "sine": [[0.78, 0.79], [0.79, 0.80], [0.78, 0.78], [0.79, 0.79]],
    }
    results = searches_of(run, accuracies)
    for search in range(4):
        for phase, test, lr in (("half_rate", 0.79, 0.25), ("double_rate", 0.70, 1.0)):
            neighbour = run("rex", phase, seed=2000 * search + 1000, test=test, lr=lr)
            results.append(in_search(neighbour, search))
    return results


@pytest.fixture(scope="module")
def text(run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    settings = {"searches": 4, "n_trials": 2, "startup_trials": 5, "confirm": 0, "report": {"delta": 0.005}}
    folder = sweep_folder(tmp_path_factory.mktemp("several"), _results(run), **settings)
    record_start(folder, "/somewhere/python -m lrbench.sweep sweep=tiny searches=4 'schedulers=[rex,cosine]'")
    write_report(folder)
    return (folder / "report.md").read_text()


@pytest.mark.parametrize(
    "part",
    [
        "**Use `rex`**, with `optimizer.lr=0.5` `scheduler.knobs.floor=0`.",
        "- This configuration: 80.50 % test accuracy (2 final runs, 95 % interval ",
        "- This scheduler, tuned by a search of 2 trials: 80.75 % (4 searches, 95 % interval ",
        "At half the peak rate the accuracy changes by -1.50 points, at twice by -10.50.",
        "scheduler = lr_scheduler.",
        "| verdict | final runs | diverged | at half / twice the peak rate, points |",
        "| -1.50 / -10.50 |",
        "over up to 4 independent searches",
        "after a two-way layout of schedulers and searches",
        "| scheduler | gap to rex | corrected interval | p | searches | verdict |",
        "| undecided | gap to rex | `searches` that would decide | machine time |",
        "| cosine | 0 |",
        "| scheduler | k = 1 | k = 2 | k = 4 |",
        "The highest: rex with 1 trial",
        "4 searches of 2 trials for each scheduler, the first with the default configuration and the next 1 spread",
        "1000 to 1001, 3000 to 3001, 5000 to 5001, 7000 to 7001",
        "The intervals cover the luck of the searches and of the final seeds.",
        "4 searches cannot show differences below about",
    ],
)
def test_the_report_says(text: str, part: str) -> None:
    assert part in text


def test_the_verdicts_and_the_command_that_would_decide(text: str) -> None:
    verdicts = {line.split(" | ")[1]: line.split(" | ")[5] for line in text.splitlines() if line.startswith("| 1")}
    verdicts |= {line.split(" | ")[1]: line.split(" | ")[5] for line in text.splitlines() if line.startswith("| 3 |")}
    assert verdicts["rex"] == "best" and verdicts["cosine"] == "undecided"
    assert "| step | 60.8" in text and "| worse |" in text
    assert "python -m lrbench.sweep sweep=tiny 'schedulers=[rex,cosine]' searches=" in text
    assert "searches=4" not in text.split("The commands for")[1].split("```")[1]


def test_the_advice_in_a_terminal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    print_advice(Console(soft_wrap=True), rank_schedulers(_results(run)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Use rex, with optimizer.lr=0.5 scheduler.knobs.floor=0."
    assert lines[1].startswith("- This configuration: 80.50 % test accuracy")
    assert not any("`" in line or "import torch" in line for line in lines)


def test_two_searches_say_that_they_show_nothing(run: Run, tmp_path: Path) -> None:
    results = searches_of(run, {"rex": [[0.8], [0.8]], "step": [[0.6], [0.6]]})
    folder = sweep_folder(tmp_path, results)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert "but 2 searches cannot show a difference: at least 3 are needed. All comparisons are undecided." in text
    assert "Nothing is known of the differences to other schedulers" in text
