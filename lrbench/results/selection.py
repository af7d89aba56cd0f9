"""Choosing among results: runs of a phase, scores of trials, the chosen trial."""

from collections.abc import Iterable, Sequence

from lrbench.results.result import TrialResult


def runs_of_phase(results: Sequence[TrialResult], scheduler: str, phase: str) -> list[TrialResult]:
    """Return a scheduler's runs of a phase, search or final, in the order of trial and seed."""
    runs = [run for run in results if (run.spec.scheduler.name, run.spec.phase) == (scheduler, phase)]
    return sorted(runs, key=lambda run: (run.spec.trial_number, run.spec.seed))


def trial_scores(search: Iterable[TrialResult]) -> dict[int, float]:
    """Return the score of each trial of a scheduler's search, by its number.

    The score is the mean over its runs of the last validation accuracy. A diverged run counts with
    chance accuracy. A trial with a pruned run has no score.
    """
    by_trial: dict[int, list[TrialResult]] = {}
    for run in search:
        by_trial.setdefault(run.spec.trial_number, []).append(run)
    return {
        trial: sum(run.last("val/accuracy") for run in runs) / len(runs)
        for trial, runs in sorted(by_trial.items())
        if all(run.state != "pruned" for run in runs)
    }


def chosen_trial(search: Iterable[TrialResult]) -> int | None:
    """Return the trial with the highest score, the first of several, or None without scores.

    The final runs of a scheduler repeat this trial.
    """
    scores = trial_scores(search)
    return max(scores, key=lambda trial: scores[trial], default=None)
