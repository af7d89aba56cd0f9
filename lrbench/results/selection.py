"""Choosing among results: runs of a phase, scores of trials, the chosen trial."""

from collections.abc import Iterable, Sequence

from lrbench.results.result import TrialResult


def runs_of_phase(results: Sequence[TrialResult], scheduler: str, phase: str) -> list[TrialResult]:
    """Return a scheduler's runs of a phase, search or final, in the order of trial and seed."""
    runs = [run for run in results if (run.spec.scheduler.name, run.spec.phase) == (scheduler, phase)]
    return sorted(runs, key=lambda run: (run.spec.trial_number, run.spec.seed))


def trial_scores(search: Iterable[TrialResult]) -> dict[int, float]:
    """Return the score of each trial of a scheduler's search, by its number.

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


def chosen_trial(search: Iterable[TrialResult]) -> int | None:
    """Return the trial with the highest score, None if no trial has a score.

    If several trials share the highest score, it is the first. The final runs of a scheduler repeat
    this trial.
    """
    scores = trial_scores(search)
    return max(scores, key=lambda trial: scores[trial], default=None)
