"""Choosing among the trials of a search: their scores, and the chosen trial."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lrbench.results.result import TrialResult
from lrbench.spec import Phase


def runs_of_phase(results: Sequence[TrialResult], scheduler: str, phase: Phase, search: int = 0) -> list[TrialResult]:
    """Return the runs of a phase in a scheduler's search, in the order of trial and seed."""
    wanted = scheduler, phase, search
    runs = [run for run in results if (run.spec.scheduler.name, run.spec.phase, run.spec.search) == wanted]
    return sorted(runs, key=lambda run: (run.spec.trial_number, run.spec.seed))


def trial_scores(search: Iterable[TrialResult]) -> dict[int, float]:
    """Return the score of each trial of a search, by its number.

    The score is the mean over its seeds of the last validation accuracy. A diverged run counts with
    chance accuracy. A trial has no score if one of its runs was pruned, or if it lacks a seed that
    another trial has. If a run was repeated on another machine, the last result counts.
    """
    by_trial: dict[int, dict[int, TrialResult]] = {}
    for run in search:
        by_trial.setdefault(run.spec.trial_number, {})[run.spec.seed] = run
    n_seeds = max(map(len, by_trial.values()), default=0)
    return {
        trial: sum(run.last("val/accuracy") for run in runs.values()) / n_seeds
        for trial, runs in sorted(by_trial.items())
        if len(runs) == n_seeds and all(run.state != "pruned" for run in runs.values())
    }


def best_trials(search: Iterable[TrialResult], count: int) -> list[int]:
    """Return the `count` trials of a search with the highest scores, the best first.

    Of trials with the same score, the first comes first.
    """
    scores = trial_scores(search)
    return sorted(scores, key=lambda trial: (-scores[trial], trial))[:count]


class Choice(NamedTuple):
    """The chosen trial of a search, and its score over all of its validation runs."""

    trial: int
    score: float


def choose(search: Sequence[TrialResult], confirmation: Iterable[TrialResult] = (), confirm: int = 0) -> Choice | None:
    """Return the choice of a scheduler's search, None if no trial has a score.

    With `confirm`, the trials with the highest scores were trained again, in `confirmation`. The
    best of them over all of their runs is chosen, because the highest of many noisy scores is in
    part luck. A trial whose confirmation failed is chosen only if all others failed too.
    """
    scores, n_seeds = trial_scores(search), len({run.spec.seed for run in search})
    again: dict[int, dict[int, TrialResult]] = {}
    for run in confirmation:
        again.setdefault(run.spec.trial_number, {})[run.spec.seed] = run
    confirmed = {}
    for trial in best_trials(search, confirm):
        runs = again.get(trial, {})
        if len(runs) == n_seeds:
            total = n_seeds * scores[trial] + sum(run.last("val/accuracy") for run in runs.values())
            confirmed[trial] = total / (2 * n_seeds)
    candidates = confirmed or scores
    chosen = max(candidates, key=lambda trial: candidates[trial], default=None)
    return None if chosen is None else Choice(chosen, candidates[chosen])
