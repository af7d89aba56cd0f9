"""Selection: scores and the chosen trial, by hand."""

import pytest

from lrbench.results.selection import choose, runs_of_phase, trial_scores
from tests.builders import Run


def test_the_chosen_trial_has_the_highest_mean_over_its_runs_and_was_not_pruned(run: Run) -> None:
    search = [
        run(phase="search", trial=trial, seed=seed, validation=[0.1, accuracy], state=state)
        for trial, seed, accuracy, state in [
            (0, 0, 0.5, "finished"), (0, 1, 0.7, "finished"),  # 0.6
            (1, 0, 0.9, "finished"), (1, 1, 0.9, "pruned"),
            (2, 0, 0.9, "diverged"), (2, 1, 0.9, "finished"),  # 0.1 and 0.9: 0.5
            (3, 0, 0.7, "finished"), (3, 1, 0.5, "finished"),  # 0.6 again
        ]
    ]  # fmt: skip
    assert trial_scores(search) == pytest.approx({0: 0.6, 2: 0.5, 3: 0.6})
    choice = choose(search)
    assert choice is not None and choice.trial == 0


def test_a_trial_with_a_failed_run_has_no_score(run: Run) -> None:
    """As in the search, which does not choose it. A repeated run counts once."""
    runs = [(0, 0, 0.5), (0, 1, 0.7), (1, 0, 0.9), (2, 0, 0.1), (2, 0, 0.3), (2, 1, 0.5)]
    search = [run(phase="search", trial=trial, seed=seed, validation=[score]) for trial, seed, score in runs]
    assert trial_scores(search) == pytest.approx({0: 0.6, 2: 0.4})
    choice = choose(search)
    assert choice is not None and choice.trial == 0


def test_scores_are_in_the_order_of_the_trials(run: Run) -> None:
    search = [run(phase="search", trial=trial, seed=0, validation=[0.5]) for trial in (2, 0, 1)]
    assert list(trial_scores(search)) == [0, 1, 2]
    choice = choose(search)
    assert choice is not None and choice.trial == 0


def test_without_scores_no_trial_is_chosen(run: Run) -> None:
    assert choose([]) is None
    assert choose([run(phase="search", validation=[0.5], state="pruned")]) is None


def test_a_run_outside_of_a_sweep_is_trial_0(run: Run) -> None:
    result = run(phase="search", validation=[0.5])
    outside = result.model_copy(update={"spec": result.spec.model_copy(update={"trial": None})})
    assert trial_scores([outside]) == {0: 0.5}


def test_the_runs_of_a_phase_are_ordered_by_trial_and_seed(run: Run) -> None:
    results = [
        run(name, phase, trial, seed)
        for name, phase, trial, seed in [
            ("cosine", "search", 10, 0),
            ("rex", "search", 0, 0),
            ("cosine", "search", 2, 1),
            ("cosine", "final", 2, 1000),
            ("cosine", "search", 2, 0),
        ]
    ]
    runs = runs_of_phase(results, "cosine", "search")
    assert [(result.spec.trial, result.spec.seed) for result in runs] == [(2, 0), (2, 1), (10, 0)]
