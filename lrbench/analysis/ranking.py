"""The ranking of the schedulers of a sweep: the numbers of a report, computed from its results."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from lrbench.analysis.best_of_k import BestOf, best_of_k
from lrbench.analysis.comparison import Layout, Values, adjusted_means, compare_by_search, compare_by_seed
from lrbench.analysis.outcomes import SearchOutcome, outcomes_of
from lrbench.analysis.statistics import (
    DEFAULT_DELTA,
    MIN_PAIRS,
    MIN_RANKED,
    MIN_SEARCHES,
    Interval,
    PairedTest,
    RankTest,
    friedman_nemenyi,
    holm_tests,
    paired_estimate,
    pooled_interval,
    rank_ranges,
    t_interval,
)
from lrbench.analysis.time_to_target import TimeToTarget, default_target, time_to_target
from lrbench.results.result import EXTRA_TEST_ACCURACIES, TrialResult
from lrbench.results.selection import trial_scores
from lrbench.spec import ConfigError, Value

BASELINE = "constant"  # if the sweep has it, and no other baseline is given
Relation = Literal["best", "equal", "undecided", "worse"]  # of a scheduler to the best one


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


@dataclass(frozen=True)
class Tuning:
    """The gain from tuning: the default configuration, trial 0, next to the chosen one.

    The validation accuracies are means of the searches' scores. `test` is the test accuracy of the
    default. It is None if the default has no final runs. `gain` is the tuned test accuracy minus
    the default's. It is paired by search or seed, and corrected by Holm.
    """

    default_validation: float
    chosen_validation: float
    test: Interval | None = None
    gain: PairedTest | None = None


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
        """The mean test accuracy of the recommended configuration, and its interval over seeds.

        The deviation of a seed is pooled over the scheduler's searches.
        """
        rows = [np.array(list(outcome.accuracies.values())) for outcome in self.outcomes]
        return pooled_interval(self.recommended.mean, len(self.recommended.finals), rows)

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
        """The relation to the best scheduler. Without a claim it is undecided."""
        if self.is_best:
            return "best"
        if self.gap_to_best.verdict == "better":
            return "worse"
        return "equal" if self.gap_to_best.verdict == "equal" else "undecided"


@dataclass(frozen=True)
class Ranking:
    """All schedulers, the best first, and their comparison.

    With several searches, claims are about schedulers that are tuned by such a search. With one,
    they are about its chosen configurations alone. Differences below `delta` do not matter.
    `target` is a validation accuracy, None if the final runs held out no images. `rank_test` is
    None for too few schedulers or pairs. `unranked` names the schedulers without final runs of
    their chosen configuration.
    """

    rows: list[Row]
    baseline: str | None
    target: float | None
    rank_test: RankTest | None
    unranked: list[str]
    searches: int = 1
    delta: float = DEFAULT_DELTA

    @property
    def is_by_search(self) -> bool:
        """True if the differences are paired by search, False if they are paired by seed."""
        return self.searches > 1

    @property
    def needed_pairs(self) -> int:
        """The lowest number of searches, or of seeds, that can show a difference."""
        return _needed(by_search=self.is_by_search)

    @property
    def pairs(self) -> int:
        """The highest number of searches or seeds that a scheduler shares with the best one."""
        if len(self.rows) < 2:
            return len(self.rows[0].values)
        return max(row.gap_to_best.pairs for row in self.rows[1:])

    @property
    def has_enough_pairs(self) -> bool:
        """True if some scheduler shares enough pairs with the best one to claim a difference."""
        return self.pairs >= self.needed_pairs


def rank_schedulers(
    results: Sequence[TrialResult],
    baseline: str | None = None,
    target: float | None = None,
    *,
    confirm: int = 0,
    delta: float = DEFAULT_DELTA,
) -> Ranking:
    """Return the ranking of the schedulers.

    `confirm` is the sweep's setting, and `delta` a difference that does not matter. Raises
    ConfigError if there are no final runs, or if `baseline` is not in the ranking.
    """
    outcomes = outcomes_of(results, confirm)
    tested = {name: [one for one in searches if one.finals] for name, searches in outcomes.items()}
    searches = max((len(found) for found in tested.values()), default=0)
    values = {name: _values(found, by_search=searches > 1) for name, found in tested.items() if found}
    if not values:
        raise ConfigError("must have finished final runs. Start the sweep again to train them.")
    values = _best_first(values, by_search=searches > 1)
    baseline, names = _baseline(baseline, values), list(values)
    target = target or default_target([_finals(tested[name]) for name in names])
    layout = (compare_by_search if searches > 1 else compare_by_seed)(list(values.values()))
    needed = _needed(by_search=searches > 1)
    gaps, ranks = gaps_and_ranks(layout, delta=delta, needed=needed)
    gains = _gains_over(baseline, names, layout, delta=delta, needed=needed)
    tuning = _tuning({name: outcomes[name] for name in names}, by_search=searches > 1, delta=delta)
    rows = [
        Row(
            scheduler=name,
            outcomes=tested[name],
            values=values[name],
            mean=layout.means[place],
            error=layout.errors[place],
            ranks=ranks[place],
            gap_to_best=gaps[place],
            gain_over_baseline=gains.get(name),
            best_epoch=_best_epoch(_finals(tested[name])),
            tuning=tuning[name],
            robustness=_robustness(tested[name]),
            time_to_target=None if target is None else time_to_target(_finals(tested[name]), target),
            search=_summarize(outcomes[name]),
            is_best=place == 0,
            is_noisy=place in layout.noisy,
        )
        for place, name in enumerate(names)
    ]
    unranked = [name for name in outcomes if name not in values]
    return Ranking(rows, baseline, target, _rank_test(list(values.values())), unranked, searches, delta)


def gaps_and_ranks(
    layout: Layout, *, delta: float = DEFAULT_DELTA, needed: int = MIN_SEARCHES
) -> tuple[list[PairedTest], list[tuple[int, int]]]:
    """Return the gap of each scheduler to the first one, and the range of its rank.

    The schedulers of the layout are in their order, the best first. The correction covers all
    pairs, because the best one is known only after looking at the results: tests against it alone
    would claim too much.
    """
    count, pairs = len(layout.means), list(layout.estimates)
    estimates = list(layout.estimates.values())
    tests = dict(zip(pairs, holm_tests(estimates, delta=delta, needed=needed), strict=True))
    better = np.zeros((count, count), dtype=bool)
    for (first, second), test in tests.items():
        better[first, second] = test.verdict == "better"
        better[second, first] = test.verdict == "worse"
    no_gap = PairedTest(Interval(0.0, 0.0, 0.0), 1.0, 0)
    gaps = [no_gap] + [tests[0, other] for other in range(1, count)]
    return gaps, rank_ranges(better)


def best_test_accuracy(run: TrialResult) -> float | None:
    """Return the highest test accuracy of a run that scored the test images several times.

    Return None for any other run.
    """
    curve = run.curves.get("test/accuracy")
    return max(curve.values) if curve and len(curve.values) > 1 else None


def _baseline(wanted: str | None, values: Mapping[str, Values]) -> str | None:
    """Return the scheduler to compare the others with: `wanted`, or BASELINE if it is ranked.

    Raises ConfigError if `wanted` is not ranked.
    """
    if wanted is not None and wanted not in values:
        raise ConfigError(f"--baseline={wanted}: must be one of {', '.join(values)}")
    return wanted or (BASELINE if BASELINE in values else None)


def _needed(*, by_search: bool) -> int:
    return MIN_SEARCHES if by_search else MIN_PAIRS


def _values(outcomes: Sequence[SearchOutcome], *, by_search: bool) -> Values:
    """Return the mean accuracy of each search, or the accuracies of the only search by seed."""
    if by_search:
        return {outcome.number: outcome.mean for outcome in outcomes}
    return outcomes[0].accuracies


def _finals(outcomes: Iterable[SearchOutcome]) -> list[TrialResult]:
    return [run for outcome in outcomes for run in outcome.finals]


def _best_first(values: Mapping[str, Values], *, by_search: bool) -> dict[str, Values]:
    """Return the values by scheduler, the highest mean first.

    Schedulers with too few values for a claim are the last, so that the luck of one search does not
    make the best scheduler.
    """
    rows, needed = list(values.values()), _needed(by_search=by_search)
    by_name = adjusted_means(rows) if by_search else [float(np.mean(list(row.values()))) for row in rows]
    means = dict(zip(values, by_name, strict=True))
    return {name: values[name] for name in sorted(means, key=lambda name: (len(values[name]) < needed, -means[name]))}


def _gains_over(
    baseline: str | None, names: Sequence[str], layout: Layout, *, delta: float, needed: int
) -> dict[str, PairedTest]:
    """Return the gain of each other scheduler over the baseline."""
    if baseline is None:
        return {}
    place = names.index(baseline)
    others = [other for other in range(len(names)) if other != place]
    tests = holm_tests([layout.difference(other, place) for other in others], delta=delta, needed=needed)
    return {names[other]: test for other, test in zip(others, tests, strict=True)}


def _tuning(outcomes: Mapping[str, Sequence[SearchOutcome]], *, by_search: bool, delta: float) -> dict[str, Tuning]:
    """Return the gain from tuning of each scheduler. The correction covers all tests of gains."""
    pairs = {name: _default_pairs(searches, by_search=by_search) for name, searches in outcomes.items()}
    tested = [name for name, values in pairs.items() if len(values)]
    estimates = [paired_estimate(pairs[name][:, 0] - pairs[name][:, 1]) for name in tested]
    tests = holm_tests(estimates, delta=delta, needed=_needed(by_search=by_search))
    gains = dict(zip(tested, tests, strict=True))
    tuning = {}
    for name, searches in outcomes.items():
        scores = [trial_scores(outcome.search).get(0, math.nan) for outcome in searches]
        tuning[name] = Tuning(
            default_validation=float(np.mean(scores)),
            chosen_validation=float(np.mean([outcome.choice.score for outcome in searches if outcome.choice])),
            test=t_interval(pairs[name][:, 1]) if name in gains else None,
            gain=gains.get(name),
        )
    return tuning


def _default_pairs(outcomes: Sequence[SearchOutcome], *, by_search: bool) -> np.ndarray:
    """Return the tuned and the default test accuracy by search or seed, shape (pairs, 2).

    A search that chose the default has a gain of 0. The result is empty if no default was trained.
    """
    rows: list[Any] = []
    for outcome in outcomes:
        tuned, default = outcome.accuracies, outcome.default_accuracies
        if outcome.choice and outcome.choice.trial == 0 and by_search:
            default = tuned
        shared = [(tuned[seed], default[seed]) for seed in tuned if seed in default]
        rows += [np.mean(shared, axis=0)] if by_search and shared else shared
    is_tested = any(outcome.defaults for outcome in outcomes)
    return np.array(rows) if is_tested else np.empty((0, 2))


def _robustness(outcomes: Sequence[SearchOutcome]) -> Robustness:
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


def _best_epoch(runs: Sequence[TrialResult]) -> Interval | None:
    """Return the mean of the runs' highest test accuracies, None if a run lacks it."""
    values = [best for run in runs if (best := best_test_accuracy(run)) is not None]
    return t_interval(np.array(values)) if len(values) == len(runs) else None


def _summarize(outcomes: Sequence[SearchOutcome]) -> SearchSummary:
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


def _rank_test(ordered: Sequence[Values]) -> RankTest | None:
    """Return the test by ranks over the searches or seeds that all share.

    None for fewer than MIN_RANKED schedulers or MIN_PAIRS pairs.
    """
    shared = [pair for pair in ordered[0] if all(pair in values for values in ordered)]
    if len(ordered) < MIN_RANKED or len(shared) < MIN_PAIRS:
        return None
    return friedman_nemenyi(np.array([[values[pair] for values in ordered] for pair in shared]))
