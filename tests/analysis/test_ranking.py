"""The numbers of a ranking, from artificial results that a reader can check by hand."""

from pathlib import Path

import pytest

from lrbench.analysis.ranking import rank_schedulers
from lrbench.results.files import read_lines, write_lines
from lrbench.spec import ConfigError
from tests.builders import Run, eight, sweep_of


def test_ranking_by_hand(run: Run) -> None:
    ranking = rank_schedulers(sweep_of(run, {"constant": [0.6, 0.7, 0.8], "cosine": [0.7, 0.8, 0.9]}))
    cosine, constant = ranking.rows
    assert (cosine.scheduler, constant.scheduler) == ("cosine", "constant")
    assert cosine.mean == pytest.approx((0.8, 0.8 - 0.2484, 0.8 + 0.2484), abs=1e-4)  # 4.3027 * 0.1 / sqrt(3)
    assert constant.gap_to_best.difference == pytest.approx((0.1, 0.1, 0.1))
    assert cosine.gain_over_baseline is not None
    assert cosine.gain_over_baseline.difference.mean == pytest.approx(0.1)
    assert constant.gain_over_baseline is None
    assert (ranking.baseline, ranking.pairs) == ("constant", 3)
    assert (ranking.has_enough_pairs, ranking.rank_test) == (False, None)


def test_differences_are_paired_by_seed(run: Run) -> None:
    results = sweep_of(run, {"cosine": [0.9, 0.5], "rex": [0.8, 0.4]})
    ranking = rank_schedulers(
        [result for result in results if (result.spec.scheduler.name, result.spec.seed) != ("rex", 1001)]
    )
    rex, cosine = ranking.rows
    assert (rex.scheduler, cosine.scheduler) == ("rex", "cosine")  # rex has only its better seed
    assert cosine.gap_to_best.pairs == 1
    assert cosine.gap_to_best.difference.mean == pytest.approx(-0.1)


def test_only_significant_differences_separate_ranks(run: Run) -> None:
    results = sweep_of(run, {"rex": eight(0.93), "cosine": eight(0.9295, 0.002), "constant": eight(0.91, 0.001)})
    assert [(row.scheduler, row.ranks, row.relation) for row in rank_schedulers(results).rows] == [
        ("rex", (1, 2), "best"),
        ("cosine", (1, 2), "equal"),
        ("constant", (3, 3), "worse"),
    ]


def test_equal_schedulers_share_all_ranks(run: Run) -> None:
    ranking = rank_schedulers(sweep_of(run, {"rex": eight(0.9), "cosine": eight(0.9), "constant": eight(0.9)}))
    assert {row.ranks for row in ranking.rows} == {(1, 3)}


def test_a_diverged_run_counts_with_chance_accuracy(run: Run) -> None:
    results = sweep_of(run, {"cosine": [0.7, 0.7, 0.7], "rex": [0.9, 0.9]})
    results.append(run("rex", seed=1002, state="diverged"))
    cosine, rex = rank_schedulers(results).rows
    assert (rex.scheduler, rex.diverged, cosine.diverged) == ("rex", 1, 0)
    assert rex.mean.mean == pytest.approx((0.9 + 0.9 + 0.1) / 3)


def test_final_runs_of_the_default_give_the_gain_from_tuning_but_no_rank(run: Run) -> None:
    results = sweep_of(run, {"cosine": [0.8, 0.9, 0.7], "constant": [0.5, 0.5, 0.5]})
    results += [run(trial=0, seed=1000 + place, test=value) for place, value in enumerate([0.75, 0.8, 0.7])]
    cosine, constant = rank_schedulers(results).rows
    assert cosine.recommended.choice is not None
    assert (cosine.recommended.choice.trial, len(cosine.runs)) == (1, 3)
    assert (cosine.tuning.default_validation, cosine.tuning.chosen_validation) == (0.5, 0.6)
    assert cosine.tuning.test is not None
    assert cosine.tuning.test.mean == pytest.approx(0.75)
    assert cosine.tuning.gain is not None
    assert cosine.tuning.gain.difference.mean == pytest.approx(0.05)  # 0.05, 0.1 and 0
    assert constant.tuning.test is None


def test_final_runs_of_an_earlier_best_trial_do_not_count(run: Run) -> None:
    results = sweep_of(run, {"cosine": [0.8, 0.9], "rex": [0.8, 0.9]})
    results.append(run("rex", "search", 2, 0, validation=[0.9]))
    ranking = rank_schedulers(results)
    assert [row.scheduler for row in ranking.rows] == ["cosine"]
    assert ranking.unranked == ["rex"]


def test_the_cost_of_the_search(run: Run) -> None:
    results = sweep_of(run, {"cosine": [0.8, 0.9]})
    results.append(run("cosine", "search", 2, 0, validation=[0.3], state="pruned"))
    results.append(run("cosine", "search", 3, 0, state="diverged"))
    search = rank_schedulers(results).rows[0].search
    assert (search.trials, search.runs, search.diverged, search.pruned) == (4, 4, 1, 1)
    assert (search.epochs, search.seconds) == (16, 36)
    assert [trial.number for trial in search.scored] == [0, 1, 3]


def test_best_epoch_is_separate_from_the_last(run: Run) -> None:
    results = sweep_of(run, {"cosine": []})
    results += [run(seed=1000, test=[0.5, 0.9, 0.8]), run(seed=1001, test=[0.5, 0.7, 0.6])]
    row = rank_schedulers(results).rows[0]
    assert row.mean.mean == pytest.approx(0.7)
    assert row.best_epoch is not None
    assert row.best_epoch.mean == pytest.approx(0.8)


def test_committed_results_keep_the_best_epoch(run: Run, tmp_path: Path) -> None:
    write_lines(tmp_path / "results.jsonl", [run(validation=[0.4, 0.5, 0.6], test=[0.5, 0.9, 0.8])])
    (result,) = read_lines(tmp_path / "results.jsonl")
    assert (result.best_test_accuracy, result.last("test/accuracy")) == (0.9, 0.8)
    assert result.curves["val/accuracy"].values == [0.6]


def test_an_unknown_baseline_is_an_error(run: Run) -> None:
    with pytest.raises(ConfigError, match="--baseline=cosin"):
        rank_schedulers(sweep_of(run, {"cosine": [0.8]}), baseline="cosin")
