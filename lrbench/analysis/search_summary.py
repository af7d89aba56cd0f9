"""The searches of a scheduler: their trials and their cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lrbench.analysis.outcomes import SearchOutcome
from lrbench.results.selection import trial_scores
from lrbench.spec import Value


@dataclass(frozen=True)
class ScoredTrial:
    """A finished trial: its search and number, its peak rate, its sampled values, and its score."""

    search: int
    number: int
    lr: float
    sampled: Mapping[str, Value]
    score: float


@dataclass(frozen=True)
class SearchSummary:
    """The searches of one scheduler and their cost.

    `scored` are the finished trials, in the order of the searches. `runs` include the runs that
    confirm the best trials.
    """

    scored: Sequence[ScoredTrial]
    trials: int
    runs: int
    diverged: int
    pruned: int
    epochs: float
    seconds: float


def summarize(outcomes: Sequence[SearchOutcome]) -> SearchSummary:
    """Return the trials and the cost of a scheduler's searches."""
    scored = []
    for outcome in outcomes:
        specs = {run.spec.trial_number: run.spec for run in outcome.search}
        for number, score in trial_scores(outcome.search).items():
            spec = specs[number]
            scored.append(ScoredTrial(outcome.number, number, spec.optimizer.lr, spec.sampled, score))
    runs = [run for outcome in outcomes for run in (*outcome.search, *outcome.confirmation)]
    return SearchSummary(
        scored=scored,
        trials=len({(run.spec.search, run.spec.trial_number) for run in runs}),
        runs=len(runs),
        diverged=sum(run.state == "diverged" for run in runs),
        pruned=sum(run.state == "pruned" for run in runs),
        epochs=sum(run.steps_trained / run.spec.train.steps_per_epoch for run in runs),
        seconds=sum(run.train_seconds + run.eval_seconds for run in runs),
    )
