"""A row of the ranking: what is known of one scheduler after its searches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from lrbench.analysis.best_of_k import BestOf, best_of_k
from lrbench.analysis.comparison import Values
from lrbench.analysis.outcomes import SearchOutcome
from lrbench.analysis.search_summary import SearchSummary
from lrbench.analysis.statistics import Estimate, Interval, PairedTest, pooled_interval
from lrbench.analysis.time_to_target import TimeToTarget
from lrbench.analysis.tuning import Tuning
from lrbench.results.result import EXTRA_TEST_ACCURACIES, TrialResult
from lrbench.spec import Value

Relation = Literal["best", "better", "equal", "undecided", "worse"]  # of a scheduler to the best one
_OPPOSITE: Mapping[str, Relation] = {"better": "worse", "worse": "better"}  # of a gap, the best minus another


@dataclass(frozen=True)
class Robustness:
    """The change of the test accuracy at half and at twice the chosen peak rates.

    Each is the mean over the searches of the accuracy there minus the accuracy of the final run
    with the same seed. It is None without such runs.
    """

    half: float | None
    double: float | None


@dataclass(frozen=True)
class Row:
    """One scheduler in the ranking, by the final runs after its searches.

    `values` are the accuracies that are compared: the mean of each search, or of each seed if there
    is one search. `mean` is their mean, and `error` its standard error. `ranks` are the first and
    last possible rank. `gap_to_best` is the accuracy of the best scheduler minus its own.
    `gain_over_baseline` is its own minus the baseline's, None for the baseline itself. `best_epoch`
    is the mean of the runs' highest test accuracies, None unless each run scored the test images
    several times. `is_noisy` means that it scatters more than the other schedulers.
    """

    scheduler: str
    outcomes: Sequence[SearchOutcome]
    values: Values
    mean: Interval
    error: float
    ranks: tuple[int, int]
    gap_to_best: PairedTest
    gain_over_baseline: PairedTest | None
    best_epoch: Interval | None
    tuning: Tuning
    robustness: Robustness
    time_to_target: TimeToTarget | None
    search: SearchSummary
    is_best: bool = False
    is_noisy: bool = False

    @cached_property
    def runs(self) -> Sequence[TrialResult]:
        """The final runs of all searches."""
        return [run for outcome in self.outcomes for run in outcome.finals]

    @property
    def estimate(self) -> Estimate:
        """The mean and its standard error, with one degree of freedom less than values."""
        return Estimate(self.mean.mean, self.error, len(self.values) - 1, len(self.values))

    @property
    def accuracies(self) -> np.ndarray:
        """The test accuracies of the final runs, shape (runs,)."""
        return np.array([run.last("test/accuracy") for run in self.runs])

    @property
    def recommended(self) -> SearchOutcome:
        """The search whose choice has the highest validation accuracy.

        The test accuracies must not choose: the highest of several is in part luck.
        """
        return max(self.outcomes, key=lambda outcome: outcome.choice.score if outcome.choice else 0.0)

    @property
    def configuration(self) -> Interval:
        """The mean test accuracy of the recommended configuration, and its interval over seeds."""
        return self.seed_interval(self.recommended.mean, 1 / len(self.recommended.finals))

    def seed_interval(self, mean: float, factor: float) -> Interval:
        """Return a mean and its 95 % interval over seeds, without the luck of the searches.

        The variance of a seed is pooled over the searches. `pooled_interval` explains `factor`.
        """
        rows = [np.array(list(outcome.accuracies.values())) for outcome in self.outcomes]
        return pooled_interval(mean, factor, rows)

    @property
    def arguments(self) -> Mapping[str, Value]:
        """The recommended configuration, by config key."""
        return self.recommended.arguments

    @property
    def diverged(self) -> int:
        """The number of final runs that diverged. They count with chance accuracy."""
        return sum(run.state == "diverged" for run in self.runs)

    @property
    def extra_accuracies(self) -> dict[str, float]:
        """The means of EXTRA_TEST_ACCURACIES, of those that a run of the scheduler has."""
        return {
            metric: float(np.mean([run.last(metric) for run in self.runs]))
            for metric in EXTRA_TEST_ACCURACIES
            if any(metric in run.curves for run in self.runs)
        }

    @property
    def unstable(self) -> Sequence[TrialResult]:
        """The final runs with loss spikes."""
        return [run for run in self.runs if run.has_loss_spikes]

    def best_of(self, numbers: Sequence[int]) -> list[BestOf | None]:
        """Return the best scores of searches of so many trials, None if there are fewer."""
        defaults = [trial.score for trial in self.search.scored if trial.number == 0]
        sampled = [trial.score for trial in self.search.scored if trial.number != 0]
        if not defaults:
            return [None for _ in numbers]
        return [best_of_k(defaults, sampled, number) if number <= len(sampled) + 1 else None for number in numbers]

    @property
    def relation(self) -> Relation:
        """The relation to the best scheduler. Without a claim it is undecided.

        Schedulers that lack searches of each other may be better than each other in a circle. Then
        one may be better than the best, which has the highest mean.
        """
        if self.is_best:
            return "best"
        return _OPPOSITE.get(self.gap_to_best.verdict, self.gap_to_best.verdict)


def robustness_of(outcomes: Sequence[SearchOutcome]) -> Robustness:
    """Return the change of the test accuracy at half and at twice the chosen peak rates."""
    changes = []
    for phase in ("half_rate", "double_rate"):
        differences = [
            run.last("test/accuracy") - outcome.accuracies[run.spec.seed]
            for outcome in outcomes
            for run in getattr(outcome, phase)
            if run.spec.seed in outcome.accuracies
        ]
        changes.append(float(np.mean(differences)) if differences else None)
    return Robustness(*changes)
