from collections.abc import Mapping, Sequence

from lrbench.analysis.ranking import Ranking, rank_schedulers
from lrbench.reporting.several import (
    comparison_parts,
    repeats_table,
    rows_in_all,
    shared_seeds,
    side_by_side_table,
)
from lrbench.results.result import TrialResult
from tests.builders import SEEDS, Run, eight, repeats_of, searches_of, sweep_of


def test_side_by_side(run: Run) -> None:
    sweeps = {
        "short": sweep_of(run, {"cosine": [0.7, 0.8, 0.9], "rex": [0.6, 0.7, 0.8], "step": [0.5, 0.5, 0.5]}),
        "long": sweep_of(
            run,
            {"cosine": [0.9, 0.9, 0.9], "rex": [0.8, 0.8, 0.8], "step": [0.95, 0.95, 0.95], "sine": [0.1, 0.1, 0.1]},
        ),
    }
    longer = sweeps["long"][0].spec.train.model_copy(update={"epochs": 8.0})
    sweeps["long"] = [
        each.model_copy(update={"spec": each.spec.model_copy(update={"train": longer})}) for each in sweeps["long"]
    ]
    table, words = side_by_side_table(_rankings(sweeps))
    assert [row[0] for row in table.rows] == ["cosine", "rex", "step", "sine"]
    assert table.rows[0] == [
        "cosine",
        "80.00",
        "55.16 to 104.84",
        "1-3",
        "90.00",
        "90.00 to 90.00",
        "1-4",
        "10.00 (-14.84 to 34.84)",
    ]
    assert table.rows[3] == ["sine", "", "", "", "10.00", "10.00 to 10.00", "1-4", ""]
    assert "Kendall's tau -0.33" in " ".join(words)  # of three pairs one keeps its order
    assert "  train.epochs: 4.0, 8.0" in words
    assert "difference: long minus short, by Welch's t, not corrected for the number of rows" in words


def _rankings(sweeps: Mapping[str, Sequence[TrialResult]]) -> dict[str, Ranking]:
    return {name: rank_schedulers(found) for name, found in sweeps.items()}


def test_repeats_of_a_sweep_by_hand(run: Run) -> None:
    sweeps = [
        {"cosine": [0.7, 0.8], "rex": [0.6, 0.6]},
        {"cosine": [0.8, 0.9], "rex": [0.5, 0.5]},
        {"cosine": [0.6, 0.7], "rex": [0.7, 0.7]},
    ]
    table, words = repeats_table(rows_in_all(_rankings(repeats_of(run, *sweeps))))
    # Means 0.75, 0.85 and 0.65, so 0.75 +- 4.3027 * 0.1 / sqrt(3); two runs that are 0.1 apart make
    # a mean with a deviation of 0.05.
    assert table.rows == [
        ["1-2", "cosine", "75.00", "50.16 to 99.84", "", "best", "10.00", "5.00"],
        ["1-2", "rex", "60.00", "35.16 to 84.84", "15.00", "undecided", "10.00", "0.00"],
    ]
    assert "10.00 points; a single sweep predicts 3.54, from its final seeds alone, without the luck" in words[1]
    assert len(words) == 2
    two = {name: rows[:2] for name, rows in rows_in_all(_rankings(repeats_of(run, *sweeps))).items()}
    assert repeats_table(two)[1][2] == "2 sweeps cannot show a difference: at least 3 are needed"


def test_six_repeats_can_claim(run: Run) -> None:
    sweeps = [{"cosine": [0.7 + shift], "rex": [0.6 + shift]} for shift in SEEDS[:6]]
    table, words = repeats_table(rows_in_all(_rankings(repeats_of(run, *sweeps))))
    # SEEDS[:6] have the mean 0.0005 and the deviation 0.00187: +- 2.5706 * 0.00187 / sqrt(6).
    assert [row[:6] for row in table.rows] == [
        ["1", "cosine", "70.05", "69.85 to 70.25", "", "best"],
        ["2", "rex", "60.05", "59.85 to 60.25", "10.00", "worse"],
    ]
    assert len(words) == 2
    assert words[1].endswith("points")  # with one final run per sweep, the seeds' part is unknown


def test_more_than_three_sweeps_show_only_their_means(run: Run) -> None:
    rankings = _rankings(repeats_of(run, *[{"cosine": [0.7, 0.9], "rex": [0.5, 0.7]}] * 4))
    table, notes = side_by_side_table(rankings)
    assert table.columns == ["", "sweep 0", "sweep 1", "sweep 2", "sweep 3"]
    assert table.rows == [["cosine", *["80.00"] * 4], ["rex", *["60.00"] * 4]]
    assert notes[0] == "sweep 0: 2 final seeds cannot show a difference (chosen configurations)"


def test_notes_on_the_first_place(run: Run) -> None:
    clear, tied = (
        [0.7 + shift for shift in SEEDS],
        [0.7 + shift + 0.001 * (-1) ** place for place, shift in enumerate(SEEDS)],
    )
    sweeps = {
        "clear": sweep_of(run, {"cosine": clear, "rex": [accuracy - 0.1 for accuracy in clear]}),
        "tied": sweep_of(run, {"cosine": clear, "rex": tied}),
    }
    _, notes = side_by_side_table(_rankings(sweeps))
    assert notes[:2] == [
        "clear: cosine is the best (chosen configurations)",
        "tied: cosine comes first; rex is not shown to be worse (chosen configurations)",
    ]
    alone = side_by_side_table(_rankings({"alone": sweep_of(run, {"cosine": clear})}))
    assert alone[1][0] == "alone: only cosine"


def test_a_difference_of_two_sweeps_is_the_difference_of_their_means(run: Run) -> None:
    """In the first sweep, rex lacks the search that is easy for cosine, so its mean is adjusted."""
    cosine = [[0.70], [0.71], [0.70], [0.81]]
    sweeps = {
        "first": searches_of(run, {"cosine": cosine, "rex": [[0.60], [0.61], [0.60]]}),
        "second": searches_of(run, {"cosine": cosine, "rex": [[0.60], [0.61], [0.60], [0.71]]}),
        "one search": sweep_of(run, {"cosine": eight(0.7), "rex": eight(0.6)}),
    }
    rankings = _rankings(sweeps)
    table, _ = side_by_side_table({name: rankings[name] for name in ("first", "second")})
    assert table.rows[1][0] == "rex"
    assert (table.rows[1][1], table.rows[1][4]) == ("63.00", "63.00")
    assert table.rows[1][-1].startswith("0.00 (-")
    table, _ = side_by_side_table({name: rankings[name] for name in ("first", "one search")})
    assert [row[-1] for row in table.rows] == ["-3.00", "-3.00"]  # one has errors over searches, the other over seeds


def test_schedulers_after_other_numbers_of_trials_are_not_repeats(run: Run) -> None:
    sweeps = repeats_of(run, *[{"cosine": [0.7], "rex": [0.6], "step": [0.5]}] * 2)
    sweeps["sweep 1"].append(run("rex", "search", 2, 0, validation=[0.1]))
    sweeps["sweep 1"] = [result for result in sweeps["sweep 1"] if result.spec.scheduler.name != "step"]
    assert list(rows_in_all(_rankings(sweeps))) == ["cosine"]


def test_shared_seeds_are_in_more_than_one_sweep(run: Run) -> None:
    sweeps = {
        "long": sweep_of(run, {"cosine": [0.7, 0.7, 0.7]}),  # seeds 1000 to 1002
        "short": sweep_of(run, {"cosine": [0.7, 0.7]}),
        "one": sweep_of(run, {"cosine": [0.7]}),
    }
    assert shared_seeds(_rankings(sweeps)) == [1000, 1001]
    assert shared_seeds(_rankings(repeats_of(run, *[{"cosine": [0.7, 0.7, 0.7]}] * 3))) == []


def test_three_sweeps_with_other_seeds_are_repeats(run: Run) -> None:
    accuracies = {"cosine": [0.7, 0.8], "rex": [0.6, 0.7]}
    parts = comparison_parts(_rankings(repeats_of(run, *[accuracies] * 3)))
    assert [title for title, _, _ in parts] == [
        "test accuracy of the final runs, %, side by side",
        "over 3 repeats of the sweep, with other seeds",
    ]
    assert len(comparison_parts(_rankings(repeats_of(run, *[accuracies] * 2)))) == 1


def test_three_sweeps_with_the_same_seeds_are_not_repeats(run: Run) -> None:
    sweep = sweep_of(run, {"cosine": [0.7, 0.8], "rex": [0.6, 0.7]})
    ((_, _, notes),) = comparison_parts(_rankings({"a": sweep, "b": sweep, "c": sweep}))
    assert notes[-1] == "these sweeps share final seeds, such as 1000; repeats need seed=0, seed=100, ..."
