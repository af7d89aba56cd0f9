"""The outcome of a search: its choice, and the runs that belong to the choice."""

import pytest

from lrbench.analysis.outcomes import outcomes_of
from lrbench.analysis.ranking import rank_schedulers
from lrbench.reporting.answer import answer
from tests.builders import Run, in_search, searches_of, sweep_of


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


def test_a_final_run_of_an_earlier_choice_does_not_count(run: Run) -> None:
    """Trial 2 was chosen once. Trial 0 is the default, whose final runs are kept apart."""
    results = searches_of(run, {"cosine": [[0.7], [0.8]]})
    results += [
        in_search(run("cosine", trial=trial, seed=3000, test=value), 1) for trial, value in ((0, 0.2), (2, 0.1))
    ]
    _, second = outcomes_of(results)["cosine"]
    assert (second.number, second.choice) == (1, (1, 0.6))
    assert (second.accuracies, second.default_accuracies) == ({3000: 0.8}, {3000: 0.2})


def test_the_latest_of_two_runs_with_a_seed_counts(run: Run) -> None:
    results = [*searches_of(run, {"cosine": [[0.7]]}), run("cosine", test=0.8)]
    (outcome,) = outcomes_of(results)["cosine"]
    assert outcome.accuracies == {1000: 0.8}


def test_each_search_has_its_own_seeds_and_confirmed_choice(run: Run) -> None:
    """(0.6 + 0.2) / 2 is below (0.5 + 0.5) / 2, so all searches choose the default."""
    results = searches_of(run, {"cosine": [[0.7], [0.7], [0.7]]}, confirmed={0: 0.5, 1: 0.2})
    outcomes = outcomes_of(results, confirm=2)["cosine"]
    assert [outcome.choice for outcome in outcomes] == [(0, 0.5)] * 3
    assert [[run.spec.seed for run in outcome.search] for outcome in outcomes] == [[0, 0], [2000, 2000], [4000, 4000]]
    assert [[run.spec.seed for run in one.confirmation] for one in outcomes] == [[1, 1], [2001, 2001], [4001, 4001]]
    assert [outcome.finals for outcome in outcomes] == [[], [], []]


def test_robustness_is_the_mean_over_the_searches(run: Run) -> None:
    """Each run is compared with the final run of its search and seed."""
    accuracies = {"cosine": [[0.70, 0.1], [0.72, 0.1]]}
    results = searches_of(run, accuracies, rates={"cosine": [0.4, 0.8]}, neighbours={"half_rate": -0.02})
    results.append(in_search(run("cosine", "double_rate", seed=3000, test=0.62, lr=1.6), 1))
    results.append(in_search(run("cosine", "double_rate", seed=3002, test=0.0, lr=1.6), 1))  # without a final run
    (row,) = rank_schedulers(results).rows
    assert row.robustness.half == pytest.approx(-0.02)
    assert row.robustness.double == pytest.approx(0.62 - 0.72)


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


def test_a_difference_by_search_by_hand(run: Run) -> None:
    """The differences 0.09, 0.1 and 0.11 have a deviation of 0.01, and t(0.975, 2) is 4.3027."""
    ranking = rank_schedulers(searches_of(run, {"cosine": [[0.70], [0.72], [0.74]], "rex": [[0.61], [0.62], [0.63]]}))
    gap = ranking.rows[1].gap_to_best
    half_width = 4.3027 * 0.01 / 3**0.5
    assert gap.difference == pytest.approx((0.1, 0.1 - half_width, 0.1 + half_width), abs=1e-5)
    assert (gap.estimate.freedom, gap.pairs) == (2, 3)
    assert [row.ranks for row in ranking.rows] == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("rex", "p_apart", "relation"),
    [([[0.698], [0.72], [0.739]], 0.037, "equal"), ([[0.669], [0.719], [0.769]], 0.459, "undecided")],
)
def test_equality_by_search_needs_little_scatter(
    run: Run, rex: list[list[float]], p_apart: float, relation: str
) -> None:
    """The differences are 0.002, 0 and 0.001, or 0.031, 0.001 and -0.029. Their means are equal.

    So 0.003 is 3.46 or 0.115 errors above the mean. The p-values are with 2 degrees of freedom.
    """
    accuracies = {"cosine": [[0.70], [0.72], [0.74]], "rex": rex}
    cosine, other = rank_schedulers(searches_of(run, accuracies), delta=0.003).rows
    assert (cosine.scheduler, other.relation) == ("cosine", relation)
    assert other.gap_to_best.difference.mean == pytest.approx(0.001)
    assert other.gap_to_best.p_apart == pytest.approx(p_apart, abs=1e-3)


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


def test_easy_searches_alone_do_not_make_the_best(run: Run) -> None:
    """Step has only the three easy searches. There it is 2 points behind, in spite of its mean."""
    accuracies = {
        "cosine": [[0.80], [0.70], [0.701], [0.50], [0.501], [0.50]],
        "rex": [[0.50], [0.401], [0.40], [0.201], [0.20], [0.20]],
        "step": [[0.78], [0.68], [0.681]],
    }
    rows = rank_schedulers(searches_of(run, accuracies)).rows
    assert [(row.scheduler, row.relation) for row in rows] == [
        ("cosine", "best"),
        ("step", "worse"),
        ("rex", "worse"),
    ]
    assert rows[1].mean.mean == pytest.approx(rows[0].mean.mean - 0.02)


def test_the_best_is_not_significantly_worse_than_another(run: Run) -> None:
    """Rex is 1 point above sine in all four shared searches. Two easy ones raise sine's mean.

    Both scatter more than the others, so their own differences count.
    """
    noise = (0.1, -0.1, 0.15, -0.15)
    accuracies = {
        "rex": [[0.71 + shift + 0.0001 * place] for place, shift in enumerate(noise)],
        "sine": [*([0.70 + shift] for shift in noise), [0.99], [0.99]],
        "cosine": [[0.600], [0.601], [0.600], [0.601], [0.600], [0.601]],
        "step": [[0.500], [0.501], [0.501], [0.500], [0.501], [0.500]],
        "linear": [[0.401], [0.400], [0.400], [0.400], [0.401], [0.401]],
    }
    ranking = rank_schedulers(searches_of(run, accuracies))
    rex, sine = ranking.rows[:2]
    assert (rex.scheduler, rex.relation, rex.ranks[0]) == ("rex", "best", 1)
    assert (sine.scheduler, sine.relation, sine.gap_to_best.pairs) == ("sine", "worse", 4)
    assert sine.mean.mean > rex.mean.mean
    text = answer(ranking)
    assert text.startswith(
        "rex comes first, with 73.44 % mean test accuracy (sine has a higher mean, of other searches)"
    )


def test_one_lucky_search_does_not_make_the_best(run: Run) -> None:
    results = searches_of(run, {"cosine": [[0.7], [0.71], [0.7]], "rex": [[0.6], [0.6], [0.61]], "sine": [[0.9]]})
    assert [(row.scheduler, row.relation) for row in rank_schedulers(results).rows] == [
        ("cosine", "best"),
        ("rex", "worse"),
        ("sine", "undecided"),
    ]


def test_searches_that_others_lack_are_several_searches(run: Run) -> None:
    """Each has one search with final runs, but not the same one."""
    results = searches_of(run, {"cosine": [[0.7], []], "rex": [[], [0.6]]})
    ranking = rank_schedulers(results)
    assert (ranking.is_by_search, ranking.searches, ranking.shared_by_all) == (True, 2, 0)
    text = answer(ranking)
    assert "0 searches cannot show a difference: at least 3 are needed. All comparisons with cosine are" in text


def test_schedulers_may_be_better_than_each_other_in_a_circle(run: Run) -> None:
    """Each pair shares six seeds, in which the first of the two is 10 points better.

    A scheduler with one seed is unbeaten, but it cannot be the best.
    """
    pairs = [("cosine", "rex"), ("rex", "step"), ("step", "cosine")]
    results = sweep_of(run, {"cosine": [], "rex": [], "step": []})
    for number, (better, worse) in enumerate(pairs):
        for seed in range(1000 + 10 * number, 1006 + 10 * number):
            wobble = 0.001 * (seed % 3)
            results += [run(better, seed=seed, test=0.7 + wobble), run(worse, seed=seed, test=0.6 - wobble)]
    results += sweep_of(run, {"sine": [0.5]})
    first, *others = rank_schedulers(results).rows
    assert [row.relation for row in others if row.scheduler == "sine"] == ["undecided"]
    assert sorted(row.relation for row in others if row.scheduler != "sine") == ["better", "worse"]
    better = next(row.scheduler for row in others if row.relation == "better")
    assert f"{better} is significantly better than {first.scheduler} in the seeds that both have." in answer(
        rank_schedulers(results)
    )
