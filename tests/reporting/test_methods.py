"""The methods and limitations of a report."""

from pathlib import Path

import pytest

from lrbench.analysis.ranking import rank_schedulers
from lrbench.reporting import methods
from lrbench.reporting.answer import answer
from lrbench.reporting.document import Commands, Text
from lrbench.reporting.ranking_table import ranking_table
from lrbench.reporting.spaces import at_an_end, search_spaces
from lrbench.results.provenance import DIRTY, Start, provenance_of, settings_of
from lrbench.results.result import TrialResult
from tests.builders import Run, eight, in_search, searches_of, sweep_folder, sweep_of


def _methods(folder: Path, results: list[TrialResult]) -> str:
    return " ".join(methods.methods(rank_schedulers(results), results, provenance_of(folder, results)))


def _limitations(folder: Path, results: list[TrialResult]) -> str:
    return " ".join(methods.limitations(rank_schedulers(results), results, provenance_of(folder, results)))


@pytest.mark.parametrize(("test_curve", "times"), [(False, "once, after the last step"), (True, "at each evaluation")])
def test_how_often_the_test_images_were_scored(run: Run, tmp_path: Path, test_curve: bool, times: str) -> None:
    results = sweep_of(run, {"cosine": eight(0.9)})
    train = results[0].spec.train.model_copy(update={"test_curve": test_curve})
    specs = [result.spec.model_copy(update={"train": train}) for result in results]
    results = [result.model_copy(update={"spec": spec}) for result, spec in zip(results, specs, strict=True)]
    text = _methods(sweep_folder(tmp_path, results), results)
    assert f"Each scored the test images {times}" in text
    assert "The search never used the test images." in text


def test_each_start_names_its_commit(run: Run, tmp_path: Path) -> None:
    results = sweep_of(run, {"cosine": eight(0.9)})
    folder = sweep_folder(tmp_path, results)
    command, date = "python -m lrbench.sweep n_trials=", "2026-11-23T10:00:00Z"
    starts = [
        Start(command=f"{command}{n}", commit=commit, version="0.1.0", date=date)
        for n, commit in ((1, "abc"), (2, f"abc{DIRTY}"), (3, "abc"))
    ]
    (folder / "starts.jsonl").write_text("".join(f"{start.model_dump_json()}\n" for start in starts))
    assert "lrbench 0.1.0, commit abc and abc with uncommitted changes." in _methods(folder, results)
    commands = methods.commands(rank_schedulers(results), provenance_of(folder, results))
    assert commands[:2] == [
        Text("The exact command (the first and the last of 3 starts):"),
        Commands(["python -m lrbench.sweep n_trials=1", "python -m lrbench.sweep n_trials=3"]),
    ]


@pytest.mark.parametrize(
    ("commit", "sentence"),
    [
        ("abc", "lrbench 0.1.0, commit abc, no uncommitted changes."),
        (f"abc{DIRTY}", "lrbench 0.1.0, commit abc with uncommitted changes."),
        ("version 0.1.0", "lrbench 0.1.0, commit version 0.1.0."),  # installed: nothing is known of changes
    ],
)
def test_only_a_known_commit_is_called_unchanged(run: Run, tmp_path: Path, commit: str, sentence: str) -> None:
    results = sweep_of(run, {"cosine": eight(0.9)})
    folder = sweep_folder(tmp_path, results)
    start = Start(command="python -m lrbench.sweep", commit=commit, version="0.1.0", date="2026-11-23T10:00:00Z")
    (folder / "starts.jsonl").write_text(f"{start.model_dump_json()}\n")
    assert sentence in _methods(folder, results)


def test_without_recorded_starts_the_commit_is_missing(run: Run, tmp_path: Path) -> None:
    results = sweep_of(run, {"cosine": eight(0.9)})
    assert "The commit of lrbench is not recorded" in _methods(sweep_folder(tmp_path, results), results)


def test_a_search_with_a_pruner_and_several_seeds(run: Run, tmp_path: Path) -> None:
    results = [
        run("cosine", "search", trial, seed, validation=[0.3, 0.4 + 0.01 * trial], lr=0.1 + 0.1 * trial)
        for trial in (0, 1, 3)
        for seed in (0, 1)
    ]
    results += [run("cosine", "search", 2, seed, validation=[0.3], state="pruned") for seed in (0, 1)]
    results += [run("cosine", trial=3, seed=1000 + place, test=value) for place, value in enumerate(eight(0.9))]
    pruner = {"name": "median", "args": {"n_startup_trials": 5}}
    folder = sweep_folder(tmp_path, results, n_trials=5, search_seeds=2, pruner=pruner)
    text = _methods(folder, results)
    for part in (
        "4 trials for each scheduler (n_trials=5, without those that repeat an earlier trial or have no result)",
        "each trial is the mean of 2 seeds",
        "pruner median (n_startup_trials=5)",
        "0 diverged, 2 were pruned",
    ):
        assert part in text, part
    text = _limitations(folder, results)
    assert "The pruner median stopped search runs by their accuracy before the end" in text
    assert "Each trial was one run" not in text


def test_the_budget_is_counted_from_the_results(run: Run, tmp_path: Path) -> None:
    """A later start added a trial and a search for rex alone, and one search was not confirmed."""
    results = searches_of(run, {"rex": [[0.7], [0.7], [0.7]], "cosine": [[0.6], [0.6]]}, confirmed={0: 0.5, 1: 0.9})
    results = [result for result in results if (result.spec.phase, result.spec.seed) != ("confirm", 4001)]
    results.append(in_search(run("rex", "search", 2, 4000, validation=[0.1]), 2))
    folder = sweep_folder(tmp_path, results, searches=3, n_trials=3, startup_trials=3, confirm=2)
    text = _methods(folder, results)
    for part in (
        "2 to 3 searches of 2 to 3 trials for each scheduler (n_trials=3, without those that",
        "the first trial has the default configuration, the next 2 are spread over the space",
        "the best 2 trials of 4 of 5 searches are trained again before one is chosen",
        "The final seeds are 1000, 3000, 5000; some schedulers lack runs with some of them.",
        "paired by search: in a search, all schedulers have the same seeds.",
    ):
        assert part in text, part


def test_unequal_seeds_in_a_search_are_said(run: Run, tmp_path: Path) -> None:
    results = searches_of(run, {"rex": [[0.7, 0.7], [0.7, 0.7]], "cosine": [[0.6, 0.6], [0.6]]})
    text = _methods(sweep_folder(tmp_path, results), results)
    assert "paired by search, although some schedulers lack seeds that others have in the same search." in text


def test_ranked_and_other_schedulers(run: Run, tmp_path: Path) -> None:
    results = [*sweep_of(run, {"rex": eight(0.7)}), run("step", "search", 0, 0, validation=[0.5])]
    assert "All ranked schedulers used the final seeds" in _methods(sweep_folder(tmp_path, results), results)
    assert answer(rank_schedulers(results)).startswith("Only one scheduler is ranked, rex.")


def test_a_peak_rate_near_an_end_of_its_range_is_named(run: Run, tmp_path: Path) -> None:
    results = [run(name, "search", 0, 0, validation=[0.5], lr=lr) for name, lr in (("cosine", 0.5), ("rex", 1.9))]
    results += [run(name, trial=0, test=0.7, lr=lr) for name, lr in (("cosine", 0.5), ("rex", 1.9))]
    ranking = rank_schedulers(results)
    spaces = search_spaces(ranking, settings_of(sweep_folder(tmp_path, results)))
    assert {row.scheduler: at_an_end(row, spaces[row.scheduler]) for row in ranking.rows} == {
        "cosine": [],
        "rex": ["lr high"],
    }
    table = ranking_table(ranking, spaces)
    assert table.columns[-1] == "at an end of its range"
    assert [row[-1] for row in table.rows] == ["", "lr high"]


def test_a_whole_number_at_an_end_of_its_range_is_named(run: Run, tmp_path: Path) -> None:
    """Of three searches, two chose 8 restarts out of 1 to 8. The end 1 is natural."""
    results = searches_of(run, {"cosine": [[0.7], [0.7], [0.7]], "rex": [[0.6], [0.6], [0.6]]})
    key, chosen = "scheduler.knobs.restarts", {"cosine": (8, 8, 2), "rex": (1, 1, 1)}
    results = [
        result.model_copy(update={"spec": spec.model_copy(update={"sampled": {key: value}})})
        for result in results
        for spec in [result.spec]
        for value in [chosen[spec.scheduler.name][spec.search]]
    ]
    ranking = rank_schedulers(results)
    space = search_spaces(ranking, settings_of(sweep_folder(tmp_path, results, scheduler=_with_restarts())))
    assert {row.scheduler: at_an_end(row, space[row.scheduler]) for row in ranking.rows} == {
        "cosine": ["restarts high"],
        "rex": [],
    }


def _with_restarts() -> dict[str, object]:
    search = {"knobs": {"restarts": {"low": 1, "high": 8}}}
    scheduler = {"_target_": "there", "knobs": {"restarts": 2}, "args": {}, "search": search}
    return {"cosine": scheduler, "rex": scheduler}


def test_limitations_of_diverged_runs(run: Run, tmp_path: Path) -> None:
    results = [*sweep_of(run, {"cosine": eight(0.9)[1:]}), run(seed=1007, state="diverged")]
    assert "mixes two kinds of runs" in _limitations(sweep_folder(tmp_path, results), results)
