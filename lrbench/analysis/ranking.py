"""The ranking of the schedulers of a sweep: the numbers of a report, computed from its results."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

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
from lrbench.results.result import TrialResult
from lrbench.results.selection import chosen_trial, trial_scores
from lrbench.spec import ConfigError

BASELINE = "constant"  # if the sweep has it, and no other baseline is given
Accuracies = Mapping[int, float]  # by seed
Value = float | int | str | bool


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

    The validation accuracies are scores of the search. `test` is the test accuracy of the default,
    None without final runs of it. `gain` is the tuned test accuracy minus the default's. It is
    paired by seed and corrected by Holm.
    """

    default_validation: float
    chosen_validation: float
    test: Interval | None = None
    gain: PairedTest | None = None


@dataclass(frozen=True)
class TimeToTarget:
    """How many of the final runs reached the target, and their median epochs and training seconds.

    The medians are inf if half of the runs did not reach it.
    """

    runs: int
    of: int
    epochs: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One scheduler in the ranking, by the final runs of its chosen configuration.

    `ranks` are its first and last possible rank. `gap_to_best` is the accuracy of the best
    scheduler minus its own. `gain_over_baseline` is its own minus the baseline's, None for the
    baseline itself. `best_epoch` has the highest test accuracy of each run, if the test images were
    scored several times.
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
    reached: TimeToTarget | None
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
    def tied(self) -> bool:
        """True if the scheduler does not differ significantly from the best one."""
        return not self.gap_to_best.significant


@dataclass(frozen=True)
class Ranking:
    """All schedulers, the best first, and their comparison.

    `target` is a validation accuracy, None if the final runs held out no images. `ranked` is the
    test by ranks, None for too few schedulers or seeds. `unranked` names the schedulers without
    final runs of their chosen configuration.
    """

    rows: list[Row]
    baseline: str | None
    target: float | None
    ranked: RankTest | None
    unranked: list[str]

    @property
    def pairs(self) -> int:
        """The lowest number of seeds that a scheduler shares with the best one."""
        if len(self.rows) < 2:
            return len(self.rows[0].runs)
        return min(row.gap_to_best.pairs for row in self.rows[1:])

    @property
    def claimable(self) -> bool:
        """True if there are enough pairs to claim a difference."""
        return self.pairs >= MIN_PAIRS


@dataclass(frozen=True)
class SchedulerRuns:
    """The runs of one scheduler, in the order of trial and seed."""

    search: list[TrialResult] = field(default_factory=list)
    finals: list[TrialResult] = field(default_factory=list)

    def chosen(self) -> list[TrialResult]:
        """Return the final runs of the chosen trial, one per seed."""
        trial = chosen_trial(self.search)
        runs = [run for run in self.finals if run.spec.trial == trial]
        latest = {run.spec.seed: run for run in runs}  # another machine may have repeated a run
        return list(latest.values())

    def default_accuracies(self) -> Accuracies:
        """Return the test accuracies of the default configuration, if it was not chosen."""
        if chosen_trial(self.search) == 0:
            return {}
        return _accuracies(run for run in self.finals if run.spec.trial == 0)


def rank_schedulers(
    results: Sequence[TrialResult], baseline: str | None = None, target: float | None = None
) -> Ranking:
    """Return the ranking of the schedulers.

    Raises ConfigError if there are no final runs, or if `baseline` is not in the ranking.
    """
    by_scheduler = _by_scheduler(results)
    finals = {name: runs.chosen() for name, runs in by_scheduler.items()}
    accuracies = _best_first({name: _accuracies(runs) for name, runs in finals.items() if runs})
    if not accuracies:
        raise ConfigError("no finished final runs to report on. Start the sweep again to make them.")
    if baseline is not None and baseline not in accuracies:
        raise ConfigError(f"--baseline {baseline}: must be one of {', '.join(accuracies)}")
    baseline = baseline or (BASELINE if BASELINE in accuracies else None)
    target = target or _target([finals[name] for name in accuracies])
    gaps, ranks = pairwise_tests(list(accuracies.values()))
    gains = _gains_over(baseline, accuracies)
    tuning = _tuning({name: by_scheduler[name] for name in accuracies}, accuracies)
    rows = []
    for name, gap, rank in zip(accuracies, gaps, ranks, strict=True):
        values = np.array(list(accuracies[name].values()))
        row = Row(
            scheduler=name,
            runs=finals[name],
            accuracies=values,
            mean=t_interval(values),
            ranks=rank,
            gap_to_best=gap,
            gain_over_baseline=gains.get(name),
            best_epoch=_best_epoch(finals[name]),
            tuning=tuning[name],
            reached=None if target is None else _time_to_target(finals[name], target),
            search=_summarize_search(by_scheduler[name].search),
        )
        rows.append(row)
    unranked = [name for name, runs in finals.items() if not runs]
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


def steps_trained(run: TrialResult) -> int:
    """Return the optimizer steps that a run made, fewer than planned if it ended early."""
    return run.curves["lr"].steps[-1] + 1 if "lr" in run.curves else 0


def _by_scheduler(results: Iterable[TrialResult]) -> dict[str, SchedulerRuns]:
    by_scheduler: dict[str, SchedulerRuns] = {}
    for run in sorted(results, key=lambda run: (run.spec.trial_number, run.spec.seed)):
        runs = by_scheduler.setdefault(run.spec.scheduler.name, SchedulerRuns())
        phase = runs.finals if run.spec.phase == "final" else runs.search
        phase.append(run)
    return by_scheduler


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


def _tuning(by_scheduler: Mapping[str, SchedulerRuns], accuracies: Mapping[str, Accuracies]) -> dict[str, Tuning]:
    """Return the gain from tuning of each scheduler. The correction covers all tests of gains."""
    defaults = {name: runs.default_accuracies() for name, runs in by_scheduler.items()}
    tested = [name for name, default in defaults.items() if default]
    tests = holm_paired_tests([_differences(accuracies[name], defaults[name]) for name in tested])
    gains = dict(zip(tested, tests, strict=True))
    tuning = {}
    for name, runs in by_scheduler.items():
        scores = trial_scores(runs.search)
        default = np.array(list(defaults[name].values()))
        tuning[name] = Tuning(
            default_validation=scores.get(0, math.nan),
            chosen_validation=max(scores.values()),
            test=t_interval(default) if len(default) else None,
            gain=gains.get(name),
        )
    return tuning


def _best_epoch(runs: Sequence[TrialResult]) -> Interval | None:
    """Return the mean of the runs' highest test accuracies, None if a run lacks it."""
    values = [best for run in runs if (best := best_test_accuracy(run)) is not None]
    return t_interval(np.array(values)) if len(values) == len(runs) else None


def _target(finals: Sequence[Sequence[TrialResult]]) -> float | None:
    """Return the whole percent below the lowest mean validation accuracy of a scheduler.

    Schedulers with diverged runs do not count.
    """
    sound = [runs for runs in finals if all(run.state == "finished" for run in runs)]
    if not sound or not all("val/accuracy" in run.curves for runs in sound for run in runs):
        return None
    lowest = min(float(np.mean([run.last("val/accuracy") for run in runs])) for runs in sound)
    return math.floor(100 * lowest + 1e-9) / 100


def _time_to_target(runs: Sequence[TrialResult], target: float) -> TimeToTarget | None:
    """Return when the runs first reached the target, None if they have no validation accuracy."""
    if not any("val/accuracy" in run.curves for run in runs):
        return None
    epochs, seconds = [], []
    for run in runs:
        step = _first_step_at(run, target)
        epochs.append(step / run.spec.train.steps_per_epoch)
        seconds.append(run.train_seconds * step / run.spec.train.total_steps)
    reached = sum(math.isfinite(epoch) for epoch in epochs)
    return TimeToTarget(reached, len(runs), _median(epochs), _median(seconds))


def _first_step_at(run: TrialResult, target: float) -> float:
    """Return the step of the first evaluation that reached the target, inf if none did."""
    curve = run.curves.get("val/accuracy")
    points = zip(curve.steps, curve.values, strict=True) if curve else ()
    return next((step for step, value in points if value >= target), math.inf)


def _median(values: Sequence[float]) -> float:
    """Return the median. It is inf if half of the values are.

    >>> _median([1.0, 3.0, 8.0, math.inf]), _median([1.0, math.inf])
    (5.5, inf)
    """
    low, high = sorted(values)[(len(values) - 1) // 2], sorted(values)[len(values) // 2]
    return (low + high) / 2


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
        epochs=sum(steps_trained(run) / run.spec.train.steps_per_epoch for run in runs),
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
