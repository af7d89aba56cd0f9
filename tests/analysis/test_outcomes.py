"""The outcome of a search: its choice, and the runs that belong to the choice."""

import pytest

from lrbench.analysis.outcomes import outcomes_of
from lrbench.analysis.ranking import rank_schedulers
from tests.builders import Run, in_search, searches_of


def test_the_confirmed_score_chooses(run: Run) -> None:
    """Trial 1 has the highest score, and trial 2 the highest mean of both of its runs."""
    scores, again = {0: 0.5, 1: 0.9, 2: 0.8}, {1: 0.3, 2: 0.7}
    results = [run("cosine", "search", trial, 0, validation=[score]) for trial, score in scores.items()]
    results += [run("cosine", "confirm", trial, 1, validation=[score]) for trial, score in again.items()]
    results += [run("cosine", "final", trial, test=0.6 + 0.1 * trial) for trial in (1, 2)]
    (outcome,) = outcomes_of(results, confirm=2)["cosine"]
    assert outcome.choice is not None and outcome.choice.trial == 2
    assert outcome.choice.score == pytest.approx(0.75)
    assert outcome.accuracies == {1000: pytest.approx(0.8)}
    (without,) = outcomes_of(results)["cosine"]
    assert without.choice == (1, 0.9)


def test_a_confirmation_of_an_earlier_choice_does_not_count(run: Run) -> None:
    """More trials have moved trial 0 out of the best two, so its old confirmation is left out."""
    scores = {0: 0.5, 1: 0.6, 2: 0.7}
    results = [run("cosine", "search", trial, 0, validation=[score]) for trial, score in scores.items()]
    results += [
        run("cosine", "confirm", trial, 1, validation=[score]) for trial, score in ((0, 1.0), (1, 0.6), (2, 0.6))
    ]
    (outcome,) = outcomes_of(results, confirm=2)["cosine"]
    assert outcome.choice is not None and outcome.choice.trial == 2


def test_neighbours_belong_to_the_choice(run: Run) -> None:
    """Runs at half and at twice the rate of an earlier choice stay in the folder."""
    results = [
        run("cosine", "search", trial, 0, validation=[0.5 + 0.1 * trial], lr=0.4 * (1 + trial)) for trial in (0, 1)
    ]
    results += [run("cosine", "final", 1, test=0.7, lr=0.8)]
    results += [run("cosine", "half_rate", 1, test=0.6, lr=0.4), run("cosine", "half_rate", 0, test=0.1, lr=0.2)]
    results += [run("cosine", "double_rate", 1, test=0.75, lr=1.6)]
    (row,) = rank_schedulers(results).rows
    assert row.robustness.half == pytest.approx(-0.1)
    assert row.robustness.double == pytest.approx(0.05)


def test_the_values_of_a_ranking_are_the_means_of_searches(run: Run) -> None:
    accuracies = {
        "cosine": [[0.70, 0.72], [0.71, 0.73], [0.72, 0.74]],
        "rex": [[0.60, 0.62], [0.62, 0.62], [0.61, 0.65]],
    }
    ranking = rank_schedulers(searches_of(run, accuracies))
    cosine, rex = ranking.rows
    assert (ranking.searches, ranking.is_by_search, ranking.pairs, ranking.needed_pairs) == (3, True, 3, 3)
    assert cosine.values == pytest.approx({0: 0.71, 1: 0.72, 2: 0.73})
    assert rex.gap_to_best.difference.mean == pytest.approx(0.72 - 0.62)
    assert (cosine.relation, rex.relation) == ("best", "worse")
    assert len(cosine.runs) == 6
    # Each search of cosine has the squares 2 * 0.01**2 around its mean, and one degree of freedom.
    half_width = 3.1824 * (0.0002 / 2) ** 0.5
    assert cosine.configuration.half_width == pytest.approx(half_width, abs=1e-5)


def test_two_searches_claim_nothing(run: Run) -> None:
    ranking = rank_schedulers(searches_of(run, {"cosine": [[0.7], [0.71]], "rex": [[0.5], [0.51]]}))
    assert not ranking.has_enough_pairs
    assert [row.relation for row in ranking.rows] == ["best", "undecided"]


def test_the_validation_accuracy_recommends_and_not_the_test_accuracy(run: Run) -> None:
    results = searches_of(run, {"cosine": [[0.7], [0.9], [0.8]]})
    results = [result for result in results if (result.spec.phase, result.spec.seed) != ("search", 4000)]
    results += [in_search(run("cosine", "search", trial, 4000, validation=[0.6 + 0.1 * trial]), 2) for trial in (0, 1)]
    (row,) = rank_schedulers(results).rows
    assert (row.recommended.number, row.recommended.mean) == (2, 0.8)


def test_the_gain_from_tuning_is_paired_by_search(run: Run) -> None:
    """The second search chose the default, which is a gain of 0 there."""
    results = searches_of(run, {"cosine": [[0.8], [0.7], [0.9]], "rex": [[0.5], [0.5], [0.5]]})
    results = [result for result in results if not (result.spec.scheduler.name == "cosine" and result.spec.search == 1)]
    results += [in_search(run("cosine", "search", trial, 2000, validation=[0.9 - 0.1 * trial]), 1) for trial in (0, 1)]
    results.append(in_search(run("cosine", trial=0, seed=3000, test=0.7), 1))
    results += [in_search(run("cosine", trial=0, seed=1000 + 2000 * search, test=0.6), search) for search in (0, 2)]
    cosine, rex = rank_schedulers(results).rows
    assert cosine.tuning.gain is not None and cosine.tuning.gain.pairs == 3
    assert cosine.tuning.gain.difference.mean == pytest.approx((0.2 + 0.0 + 0.3) / 3)
    assert cosine.tuning.default_validation == pytest.approx((0.5 + 0.9 + 0.5) / 3)
    assert rex.tuning.gain is None


def test_a_search_without_final_runs_is_left_out(run: Run) -> None:
    results = searches_of(run, {"cosine": [[0.7], [0.71], [0.72], []], "rex": [[0.6], [0.62], [0.61], [0.6]]})
    cosine, rex = rank_schedulers(results).rows
    assert (set(cosine.values), set(rex.values)) == ({0, 1, 2}, {0, 1, 2, 3})
    assert rex.gap_to_best.pairs == 3 and rex.relation == "worse"


def test_a_scheduler_with_few_searches_leaves_the_others_their_claims(run: Run) -> None:
    results = searches_of(run, {"cosine": [[0.7], [0.71], [0.7]], "rex": [[0.6], [0.6], [0.61]], "step": [[0.65]]})
    ranking = rank_schedulers(results)
    assert ranking.has_enough_pairs
    relations = {row.scheduler: row.relation for row in ranking.rows}
    assert relations == {"cosine": "best", "step": "undecided", "rex": "worse"}
