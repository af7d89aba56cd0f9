"""The ranking of the schedulers of a sweep: the numbers of a report, computed from its results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lrbench.analysis.comparison import Layout, Values, adjusted_means, compare_by_search, compare_by_seed
from lrbench.analysis.outcomes import SearchOutcome, outcomes_of
from lrbench.analysis.row import Row, robustness_of
from lrbench.analysis.search_summary import summarize
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
    rank_ranges,
    t_interval,
)
from lrbench.analysis.time_to_target import default_target, time_to_target
from lrbench.analysis.tuning import gains_from_tuning
from lrbench.results.result import TrialResult
from lrbench.spec import ConfigError

BASELINE = "constant"  # if the sweep has it, and no other baseline is given


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
    def shared_by_all(self) -> int:
        """The number of searches or seeds that all schedulers share."""
        return len(set.intersection(*(set(row.values) for row in self.rows)))

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
    searches = len({one.number for found in tested.values() for one in found})
    values = {name: _values(found, by_search=searches > 1) for name, found in tested.items() if found}
    if not values:
        raise ConfigError("must have finished final runs. Start the sweep again to train them.")
    needed, compare = _needed(by_search=searches > 1), compare_by_search if searches > 1 else compare_by_seed
    values = _best_first(values, by_search=searches > 1)
    layout = compare(list(values.values()))
    gaps, ranks = gaps_and_ranks(layout, delta=delta, needed=needed)
    if leader := _shown_better(ranks, [len(row) >= needed for row in values.values()]):
        # The means are over all searches. Differences of noisy schedulers are over the shared ones.
        values = _moved_first(values, leader)
        layout = compare(list(values.values()))
        gaps, ranks = gaps_and_ranks(layout, delta=delta, needed=needed)
    baseline, names = _baseline(baseline, values), list(values)
    target = target or default_target([_finals(tested[name]) for name in names])
    gains = _gains_over(baseline, names, layout, delta=delta, needed=needed)
    tuning = gains_from_tuning(
        {name: outcomes[name] for name in names}, by_search=searches > 1, delta=delta, needed=needed
    )
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
            robustness=robustness_of(tested[name]),
            time_to_target=None if target is None else time_to_target(_finals(tested[name]), target),
            search=summarize(outcomes[name]),
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


def _shown_better(ranks: Sequence[tuple[int, int]], has_enough: Sequence[bool]) -> int:
    """Return the place of the first scheduler that none is significantly better than.

    A scheduler without enough values does not count. Return 0 if no scheduler is left.
    """
    unbeaten = (place for place, (first, _) in enumerate(ranks) if first == 1 and has_enough[place])
    return next(unbeaten, 0)


def _moved_first(values: Mapping[str, Values], place: int) -> dict[str, Values]:
    """Return the values by scheduler, with another scheduler in the first place."""
    first = list(values)[place]
    return {first: values[first], **values}


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


def _best_epoch(runs: Sequence[TrialResult]) -> Interval | None:
    """Return the mean of the runs' highest test accuracies, None if a run lacks it."""
    values = [best for run in runs if (best := run.best_test_accuracy) is not None]
    return t_interval(np.array(values)) if len(values) == len(runs) else None


def _rank_test(ordered: Sequence[Values]) -> RankTest | None:
    """Return the test by ranks over the searches or seeds that all share.

    None for fewer than MIN_RANKED schedulers or MIN_PAIRS pairs.
    """
    shared = [pair for pair in ordered[0] if all(pair in values for values in ordered)]
    if len(ordered) < MIN_RANKED or len(shared) < MIN_PAIRS:
        return None
    return friedman_nemenyi(np.array([[values[pair] for values in ordered] for pair in shared]))
