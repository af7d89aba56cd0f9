"""Repeats of a sweep, with other seeds: how the schedulers compare when the luck of a search counts as the luck of a seed does."""

import math
from collections.abc import Mapping

import numpy as np

from lrbench import comparison, stats
from lrbench.blocks import Table, between, counted, percent
from lrbench.comparison import Accuracies, Ranking, Row
from lrbench.stats import MIN_PAIRS

LEAST = 3  # sweeps that make an interval worth reading: of two, Student's t makes one thirteen times as wide as their scatter


def shared_seeds(rankings: Mapping[str, Ranking]) -> list[int]:
    """Return the seeds of final runs that more than one of the sweeps has: with any, they are no repeats of each other."""
    of_each = [{run.spec.seed for row in ranking.rows for run in row.runs} for ranking in rankings.values()]
    return sorted(seed for seed in set().union(*of_each) if sum(seed in seeds for seeds in of_each) > 1)


def common(rankings: Mapping[str, Ranking]) -> dict[str, list[Row]]:
    """Return the rows, one a sweep, of each scheduler that all of the sweeps have, after searches of as many trials."""
    by_name = [{row.scheduler: row for row in ranking.rows} for ranking in rankings.values()]
    rows = {name: [rows[name] for rows in by_name] for name in by_name[0] if all(name in rows for rows in by_name)}
    return {name: of_one for name, of_one in rows.items() if len({row.search.trials for row in of_one}) == 1}


def over_sweeps(rows: Mapping[str, list[Row]]) -> tuple[Table, list[str]]:
    """Return the ranking of the schedulers in `common`, and what there is to say of it.

    A sweep's mean is one value of a scheduler, so that its search and its seeds are both new in each; differences are paired by sweep.
    """
    means: dict[str, Accuracies] = {name: {place: row.mean.mean for place, row in enumerate(of_one)} for name, of_one in rows.items()}
    names = sorted(means, key=lambda name: -float(np.mean(list(means[name].values()))))
    behind, ranks = comparison.pairwise([means[name] for name in names])
    cells = []
    for name, one, (first, last) in zip(names, behind, ranks, strict=True):
        mean = stats.t_interval(np.array(list(means[name].values())))
        difference = f"{percent(one.difference.mean)}{'' if one.claimed else ' (tie)'}" if name != names[0] else "the best"
        moved, by_seeds = (percent(math.sqrt(part)) for part in _variances(rows[name]))
        cells.append(
            [f"{first}" if first == last else f"{first}-{last}", name, percent(mean.mean), between(mean), difference, moved, by_seeds]
        )
    columns = ["rank", "scheduler", "test accuracy, %", "95 % interval", "behind the best", "deviation", "by final seeds alone"]
    return Table(columns, cells, left=(1,)), _words(rows)


def _variances(rows: list[Row]) -> tuple[float, float]:
    """Return the variance of the means of sweeps, and what the scatter of their final runs alone would make it; nan for one run each."""
    moved = float(np.var([row.mean.mean for row in rows], ddof=1))
    alone = [float(np.var(row.accuracies, ddof=1)) / len(row.runs) if len(row.runs) > 1 else float("nan") for row in rows]
    return moved, float(np.mean(alone))


def _words(rows: Mapping[str, list[Row]]) -> list[str]:
    sweeps = len(next(iter(rows.values())))
    moved, by_seeds = (float(part) for part in np.mean([_variances(of_one) for of_one in rows.values()], axis=0))
    words = [
        f"a value is the mean of a sweep: other searches and other seeds are both in the intervals, by Student's t over {sweeps} sweeps",
        f"over all schedulers, a mean moves from sweep to sweep by {percent(math.sqrt(moved))} points (standard deviation)",
    ]
    if not math.isnan(by_seeds):
        searches = percent(math.sqrt(max(0, moved - by_seeds)))
        words[-1] += f": {percent(math.sqrt(by_seeds))} by the seeds of its final runs, {searches} by what the searches chose"
    few = f"{counted(sweeps, 'sweep')} are too few to claim differences ({MIN_PAIRS} are the least): all are ties here"
    return [*words, *([few] if sweeps < MIN_PAIRS else [])]
