"""The ranking of the schedulers of a sweep: the numbers of a report, computed from its results."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lrbench.analysis.statistics import (
    MIN_PAIRS,
    MIN_RANKED,
    Interval,
    PairedTest,
    RankTest,
    friedman_nemenyi,
    holm_paired_tests,
    rank_ranges,
    t_interval,
)
from lrbench.analysis.time_to_target import TimeToTarget, default_target, time_to_target
from lrbench.results.result import EXTRA_TEST_ACCURACIES, TrialResult
from lrbench.results.selection import choose, runs_of_phase, trial_scores
from lrbench.spec import ConfigError, Value

BASELINE = "constant"  # if the sweep has it, and no other baseline is given
Accuracies = Mapping[int, float]  # by seed


@dataclass(frozen=True)
class ScoredTrial:
    """A finished trial: its number, its peak rate, its sampled values, and its score."""

    number: int
    lr: float
    sampled: Mapping[str, Value]
    score: float


@dataclass(frozen=True)
class SearchSummary:
    """The search of one scheduler and its cost.

    `scored` are the finished trials, in their order.
    """

    scored: Sequence[ScoredTrial]
    trials: int
    runs: int
    diverged: int
    pruned: int
    epochs: float
    seconds: float


@dataclass(frozen=True)
class Tuning:
    """The gain from tuning: the default configuration, trial 0, next to the chosen one.

    The validation accuracies are scores of the search. `test` is the test accuracy of the default.
    It is None if the default has no final runs. `gain` is the tuned test accuracy minus the
    default's. It is paired by seed and corrected by Holm.
    """

    default_validation: float
    chosen_validation: float
    test: Interval | None = None
    gain: PairedTest | None = None


@dataclass(frozen=True)
class Row:
    """One scheduler in the ranking, by the final runs of its chosen configuration.

    `ranks` are its first and last possible rank. `gap_to_best` is the accuracy of the best
    scheduler minus its own. `gain_over_baseline` is its own minus the baseline's, None for the
    baseline itself. `best_epoch` is the mean of the runs' highest test accuracies, None unless each
    run scored the test images several times.
    """

    scheduler: str
    runs: Sequence[TrialResult]
    accuracies: np.ndarray
    mean: Interval
    ranks: tuple[int, int]
    gap_to_best: PairedTest
    gain_over_baseline: PairedTest | None
    best_epoch: Interval | None
    tuning: Tuning
    time_to_target: TimeToTarget | None
    search: SearchSummary

    @property
    def arguments(self) -> Mapping[str, Value]:
        """The chosen configuration, by config key."""
        return self.runs[0].spec.sampled

    @property
    def trial(self) -> int:
        """The number of the chosen trial."""
        return self.runs[0].spec.trial_number

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

    @property
    def tied(self) -> bool:
        """True if the scheduler does not differ significantly from the best one."""
        return not self.gap_to_best.significant


@dataclass(frozen=True)
class Ranking:
    """All schedulers, the best first, and their comparison.

    `target` is a validation accuracy, None if the final runs held out no images. `rank_test`
    is None for too few schedulers or seeds. `unranked` names the schedulers without final runs of
    their chosen configuration.
    """

    rows: list[Row]
    baseline: str | None
    target: float | None
    rank_test: RankTest | None
    unranked: list[str]

    @property
    def pairs(self) -> int:
        """The lowest number of seeds that a scheduler shares with the best one."""
        if len(self.rows) < 2:
            return len(self.rows[0].runs)
        return min(row.gap_to_best.pairs for row in self.rows[1:])

    @property
    def has_enough_pairs(self) -> bool:
        """True if there are enough pairs to claim a difference."""
        return self.pairs >= MIN_PAIRS


@dataclass(frozen=True)
class SchedulerRuns:
    """The runs of one scheduler.

    `search` is in the order of trial and seed. `chosen` are the final runs of the chosen trial, one
    per seed. `default` are the final runs of the default configuration, none if it was chosen.
    """

    scheduler: str
    search: Sequence[TrialResult]
    chosen: Sequence[TrialResult]
    default: Sequence[TrialResult]


def rank_schedulers(
    results: Sequence[TrialResult], baseline: str | None = None, target: float | None = None
) -> Ranking:
    """Return the ranking of the schedulers.

    Raises ConfigError if there are no final runs, or if `baseline` is not in the ranking.
    """
    names = dict.fromkeys(run.spec.scheduler.name for run in results)
    by_scheduler = {name: _runs_of(results, name) for name in names}
    accuracies = _best_first({name: _accuracies(runs.chosen) for name, runs in by_scheduler.items() if runs.chosen})
    if not accuracies:
        raise ConfigError("must have finished final runs. Start the sweep again to train them.")
    ranked = [by_scheduler[name] for name in accuracies]
    baseline = _baseline(baseline, accuracies)
    target = target or default_target([runs.chosen for runs in ranked])
    gains, tuning = _gains_over(baseline, accuracies), _tuning(ranked, accuracies)
    rows = [
        _row(runs, gap, ranks, gains.get(runs.scheduler), tuning[runs.scheduler], target)
        for runs, gap, ranks in zip(ranked, *pairwise_tests(list(accuracies.values())), strict=True)
    ]
    unranked = [name for name in names if name not in accuracies]
    return Ranking(rows, baseline, target, _rank_test(list(accuracies.values())), unranked)


def pairwise_tests(ordered: Sequence[Accuracies]) -> tuple[list[PairedTest], list[tuple[int, int]]]:
    """Return the gap of each scheduler to the first one, and the range of its rank.

    `ordered` has the accuracies of each scheduler, the best first. The correction covers all pairs,
    because the best one is known only after looking at the results: tests against it alone would
    claim too much.
    """
    count = len(ordered)
    pairs = list(itertools.combinations(range(count), 2))
    differences = [_differences(ordered[first], ordered[second]) for first, second in pairs]
    tests = dict(zip(pairs, holm_paired_tests(differences), strict=True))
    better = np.zeros((count, count), dtype=bool)
    for (first, second), test in tests.items():
        if test.significant and test.difference.mean > 0:
            better[first, second] = True
        elif test.significant:
            better[second, first] = True
    no_gap = PairedTest(Interval(0.0, 0.0, 0.0), 1.0, len(ordered[0]))
    gaps = [no_gap] + [tests[0, other] for other in range(1, count)]
    return gaps, rank_ranges(better)


def best_test_accuracy(run: TrialResult) -> float | None:
    """Return the highest test accuracy of a run that scored the test images several times.

    Return None for any other run.
    """
    curve = run.curves.get("test/accuracy")
    return max(curve.values) if curve and len(curve.values) > 1 else None


def _runs_of(results: Sequence[TrialResult], scheduler: str) -> SchedulerRuns:
    search = runs_of_phase(results, scheduler, "search")
    confirmation, finals = (runs_of_phase(results, scheduler, phase) for phase in ("confirm", "final"))
    choice = choose(search, confirmation, len({run.spec.trial for run in confirmation}))
    trial = choice.trial if choice else None
    # Another machine may have repeated a run: the latest counts.
    chosen = {run.spec.seed: run for run in finals if run.spec.trial == trial}
    default = [run for run in finals if run.spec.trial == 0] if trial != 0 else []
    return SchedulerRuns(scheduler, search, list(chosen.values()), default)


def _baseline(wanted: str | None, accuracies: Mapping[str, Accuracies]) -> str | None:
    """Return the scheduler to compare the others with: `wanted`, or BASELINE if it is ranked.

    Raises ConfigError if `wanted` is not ranked.
    """
    if wanted is not None and wanted not in accuracies:
        raise ConfigError(f"--baseline={wanted}: must be one of {', '.join(accuracies)}")
    return wanted or (BASELINE if BASELINE in accuracies else None)


def _row(
    runs: SchedulerRuns,
    gap: PairedTest,
    ranks: tuple[int, int],
    gain: PairedTest | None,
    tuning: Tuning,
    target: float | None,
) -> Row:
    accuracies = np.array(list(_accuracies(runs.chosen).values()))
    return Row(
        scheduler=runs.scheduler,
        runs=runs.chosen,
        accuracies=accuracies,
        mean=t_interval(accuracies),
        ranks=ranks,
        gap_to_best=gap,
        gain_over_baseline=gain,
        best_epoch=_best_epoch(runs.chosen),
        tuning=tuning,
        time_to_target=None if target is None else time_to_target(runs.chosen, target),
        search=_summarize_search(runs.search),
    )


def _accuracies(runs: Iterable[TrialResult]) -> dict[int, float]:
    return {run.spec.seed: run.last("test/accuracy") for run in runs}


def _best_first(accuracies: Mapping[str, Accuracies]) -> dict[str, Accuracies]:
    """Return the accuracies by scheduler, the highest mean first."""
    means = {name: float(np.mean(list(values.values()))) for name, values in accuracies.items()}
    return {name: accuracies[name] for name in sorted(means, key=lambda name: -means[name])}


def _differences(values: Accuracies, others: Accuracies) -> np.ndarray:
    """Return `values` minus `others`, for the seeds that both have."""
    return np.array([values[seed] - others[seed] for seed in values if seed in others])


def _gains_over(baseline: str | None, accuracies: Mapping[str, Accuracies]) -> dict[str, PairedTest]:
    """Return the gain of each other scheduler over the baseline."""
    if baseline is None:
        return {}
    others = [name for name in accuracies if name != baseline]
    tests = holm_paired_tests([_differences(accuracies[name], accuracies[baseline]) for name in others])
    return dict(zip(others, tests, strict=True))


def _tuning(ranked: Sequence[SchedulerRuns], accuracies: Mapping[str, Accuracies]) -> dict[str, Tuning]:
    """Return the gain from tuning of each scheduler. The correction covers all tests of gains."""
    defaults = {runs.scheduler: _accuracies(runs.default) for runs in ranked}
    tested = [name for name, default in defaults.items() if default]
    tests = holm_paired_tests([_differences(accuracies[name], defaults[name]) for name in tested])
    gains = dict(zip(tested, tests, strict=True))
    tuning = {}
    for runs in ranked:
        scores = trial_scores(runs.search)
        default = np.array(list(defaults[runs.scheduler].values()))
        tuning[runs.scheduler] = Tuning(
            default_validation=scores.get(0, math.nan),
            chosen_validation=max(scores.values()),
            test=t_interval(default) if len(default) else None,
            gain=gains.get(runs.scheduler),
        )
    return tuning


def _best_epoch(runs: Sequence[TrialResult]) -> Interval | None:
    """Return the mean of the runs' highest test accuracies, None if a run lacks it."""
    values = [best for run in runs if (best := best_test_accuracy(run)) is not None]
    return t_interval(np.array(values)) if len(values) == len(runs) else None


def _summarize_search(runs: Sequence[TrialResult]) -> SearchSummary:
    specs = {run.spec.trial_number: run.spec for run in runs}
    scored = [
        ScoredTrial(number, specs[number].optimizer.lr, specs[number].sampled, score)
        for number, score in trial_scores(runs).items()
    ]
    return SearchSummary(
        scored=scored,
        trials=len(specs),
        runs=len(runs),
        diverged=sum(run.state == "diverged" for run in runs),
        pruned=sum(run.state == "pruned" for run in runs),
        epochs=sum(run.steps_trained / run.spec.train.steps_per_epoch for run in runs),
        seconds=sum(run.train_seconds + run.eval_seconds for run in runs),
    )


def _rank_test(ordered: Sequence[Accuracies]) -> RankTest | None:
    """Return the test by ranks over the seeds that all share.

    None for fewer than MIN_RANKED schedulers or MIN_PAIRS seeds.
    """
    shared = [seed for seed in ordered[0] if all(seed in accuracies for accuracies in ordered)]
    if len(ordered) < MIN_RANKED or len(shared) < MIN_PAIRS:
        return None
    return friedman_nemenyi(np.array([[accuracies[seed] for accuracies in ordered] for seed in shared]))
