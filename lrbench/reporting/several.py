"""The report on several sweeps: their rankings side by side, and the ranking over repeats."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from lrbench.analysis.comparison import compare_by_search
from lrbench.analysis.ranking import Ranking, gaps_and_ranks
from lrbench.analysis.row import Row
from lrbench.analysis.statistics import DEFAULT_DELTA, MIN_SEARCHES, independent_difference
from lrbench.reporting.answer import counted_pairs, names, verdict_text
from lrbench.reporting.document import Table, interval_text
from lrbench.results.result import TrialResult
from lrbench.text import percent, rank_range

MIN_REPEATS = 3  # with two, half of the interval by Student's t is nine standard deviations
MAX_WITH_INTERVALS = 3  # sweeps side by side; with more, the table has only their means
MIN_COMMON = 3  # schedulers that two sweeps must share for a rank correlation


def comparison_parts(rankings: Mapping[str, Ranking]) -> list[tuple[str, Table, list[str]]]:
    """Return the tables of several sweeps, each with its title and its notes."""
    table, notes = side_by_side_table(rankings)
    side_by_side = ("test accuracy of the final runs, %, side by side", table, notes)
    common = rows_in_all(rankings)
    if len(rankings) < MIN_REPEATS or config_differences(rankings) or not common:
        return [side_by_side]
    seeds = shared_seeds(rankings)
    if seeds:
        notes.append(f"these sweeps share final seeds, such as {seeds[0]}; repeats need seed=0, seed=100, ...")
        return [side_by_side]
    table, notes = repeats_table(common, max(ranking.delta for ranking in rankings.values()))
    return [side_by_side, (f"over {len(rankings)} repeats of the sweep, with other seeds", table, notes)]


def shared_seeds(rankings: Mapping[str, Ranking]) -> list[int]:
    """Return the final seeds that several of the sweeps have.

    Sweeps that share seeds are not repeats.
    """
    n_sweeps: Counter[int] = Counter()
    for ranking in rankings.values():
        n_sweeps.update({run.spec.seed for row in ranking.rows for run in row.runs})
    return sorted(seed for seed, count in n_sweeps.items() if count > 1)


def rows_in_all(rankings: Mapping[str, Ranking]) -> dict[str, list[Row]]:
    """Return the rows, one per sweep, of each scheduler that all sweeps have.

    Schedulers whose searches had different numbers of trials are left out.
    """
    by_sweep = [_by_scheduler(ranking) for ranking in rankings.values()]
    rows_of_common = {}
    for scheduler in by_sweep[0]:
        rows = [sweep[scheduler] for sweep in by_sweep if scheduler in sweep]
        trials = {row.search.trials for row in rows}
        if len(rows) == len(by_sweep) and len(trials) == 1:
            rows_of_common[scheduler] = rows
    return rows_of_common


def _by_scheduler(ranking: Ranking) -> dict[str, Row]:
    return {row.scheduler: row for row in ranking.rows}


def repeats_table(rows: Mapping[str, list[Row]], delta: float = DEFAULT_DELTA) -> tuple[Table, list[str]]:
    """Return the ranking of the schedulers of `rows_in_all`, and notes on it.

    Each sweep gives one value per scheduler, from new searches and new seeds. So differences are
    paired by sweep. Differences below `delta` do not matter.
    """
    means = {name: float(np.mean([row.mean.mean for row in repeats])) for name, repeats in rows.items()}
    ordered = sorted(means, key=lambda name: -means[name])
    layout = compare_by_search([{place: row.mean.mean for place, row in enumerate(rows[name])} for name in ordered])
    cells = []
    for name, mean, gap, rank in zip(ordered, layout.means, *gaps_and_ranks(layout, delta=delta), strict=True):
        is_best = name == ordered[0]
        between, predicted = _variances(rows[name])
        row = {
            "rank": rank_range(*rank),
            "scheduler": name,
            "test accuracy, %": percent(mean.mean),
            "95 % interval": interval_text(mean),
            "gap to the best": "" if is_best else percent(gap.difference.mean),
            "verdict": "best" if is_best else verdict_text({"better": "worse"}.get(gap.verdict, gap.verdict), delta),
            "deviation": percent(math.sqrt(between)),
            "predicted": percent(math.sqrt(predicted)),
        }
        cells.append(row)
    return Table(list(cells[0]), [list(row.values()) for row in cells], left=(1, 5)), _repeats_notes(rows)


def _variances(rows: Sequence[Row]) -> tuple[float, float]:
    """Return the variance of the means of the sweeps, and the one that a single sweep predicts.

    The prediction is the mean over the sweeps of the squared standard error in their rankings. It
    is NaN if a sweep has one final run.
    """
    between = float(np.var([row.mean.mean for row in rows], ddof=1))
    return between, float(np.mean([row.error**2 for row in rows]))


def _repeats_notes(rows: Mapping[str, list[Row]]) -> list[str]:
    sweeps = len(next(iter(rows.values())))
    between, predicted = np.mean([_variances(repeats) for repeats in rows.values()], axis=0)
    by_search = all(len(row.outcomes) > 1 for repeats in rows.values() for row in repeats)
    deviation = (
        f"standard deviation of a mean between sweeps, over all schedulers: {percent(math.sqrt(between))} points"
    )
    if not math.isnan(predicted):
        source = "from its searches" if by_search else "from its final seeds alone, without the luck of its search"
        deviation += f"; a single sweep predicts {percent(math.sqrt(predicted))}, {source}"
    notes = [
        f"each value is the mean of a sweep, so the intervals cover searches and seeds ({sweeps} sweeps)",
        deviation,
    ]
    if sweeps < MIN_SEARCHES:
        notes.append(f"{sweeps} sweeps cannot show a difference: at least {MIN_SEARCHES} are needed")
    return notes


def side_by_side_table(rankings: Mapping[str, Ranking]) -> tuple[Table, list[str]]:
    """Return a table with a row per scheduler and columns for each sweep, and notes on it.

    The last column of two sweeps is the accuracy in the second sweep minus the accuracy in the
    first. With more than MAX_WITH_INTERVALS sweeps, the table has only the means.
    """
    sweeps = {name: _by_scheduler(ranking) for name, ranking in rankings.items()}
    schedulers = dict.fromkeys(scheduler for rows in sweeps.values() for scheduler in rows)
    with_intervals = len(sweeps) <= MAX_WITH_INTERVALS
    columns = [""]
    for name in sweeps:
        columns += [name, "95 % interval", "rank"] if with_intervals else [name]
    cells = {}
    for scheduler in schedulers:
        cells[scheduler] = [scheduler]
        for rows in sweeps.values():
            cells[scheduler] += _sweep_cells(rows.get(scheduler), with_intervals)
    notes = [f"{name}: {_leader(ranking)}" for name, ranking in rankings.items()]
    if len(sweeps) == 2:
        (first_name, first), (second_name, second) = sweeps.items()
        columns.append("difference, 95 % interval")
        for scheduler in schedulers:
            cells[scheduler].append(_difference(first.get(scheduler), second.get(scheduler)))
        notes.append(
            f"difference: {second_name} minus {first_name}, by Welch's t, not corrected for the number of rows"
        )
        notes += _agreement(first, second)
    return Table(columns, list(cells.values())), [*notes, *_config_notes(rankings)]


def _sweep_cells(row: Row | None, with_intervals: bool) -> list[str]:
    """Return the cells of a scheduler in one sweep, empty if the sweep lacks it."""
    mean = interval = rank = ""
    if row:
        mean, interval, rank = percent(row.mean.mean), interval_text(row.mean), rank_range(*row.ranks)
    return [mean, interval, rank] if with_intervals else [mean]


def _difference(first: Row | None, second: Row | None) -> str:
    if not first or not second:
        return ""
    difference = independent_difference(second.estimate, first.estimate)
    if (len(first.outcomes) > 1) != (len(second.outcomes) > 1):
        return percent(difference.mean)  # one error is over seeds alone, and the other over searches too
    ends = interval_text(difference)
    return f"{percent(difference.mean)} ({ends})" if ends else percent(difference.mean)


def _leader(ranking: Ranking) -> str:
    """Return which schedulers may be the best, with what the ranking compares."""
    subject = "schedulers" if ranking.is_by_search else "chosen configurations"
    if not ranking.has_enough_pairs:
        return f"{counted_pairs(ranking.pairs, ranking)} cannot show a difference ({subject})"
    best, *others = ranking.rows
    if not others:
        return f"only {best.scheduler}"
    candidates = [row for row in others if row.relation != "worse"]
    if not candidates:
        return f"{best.scheduler} is the best ({subject})"
    verb = "is" if len(candidates) == 1 else "are"
    return f"{best.scheduler} comes first; {names(candidates)} {verb} not shown to be worse ({subject})"


def _agreement(first: Mapping[str, Row], second: Mapping[str, Row]) -> list[str]:
    """Return how far two sweeps agree in the order of their common schedulers."""
    common = [scheduler for scheduler in first if scheduler in second]
    if len(common) < MIN_COMMON:
        return []
    first_means = [first[scheduler].mean.mean for scheduler in common]
    second_means = [second[scheduler].mean.mean for scheduler in common]
    tau = float(stats.kendalltau(first_means, second_means).statistic)
    if math.isnan(tau):
        return []
    scale = "1 is the same order, 0 unrelated, -1 reversed"
    return [f"order of the {len(common)} common schedulers: Kendall's tau {tau:.2f} ({scale})"]


def _config_notes(rankings: Mapping[str, Ranking]) -> list[str]:
    differences = config_differences(rankings)
    if not differences:
        return ["the final runs differ only in their seeds and in the choices of their searches"]
    return ["the final runs differ in:", *(f"  {key}: {', '.join(values)}" for key, values in differences.items())]


def config_differences(rankings: Mapping[str, Ranking]) -> dict[str, list[str]]:
    """Return the config keys in which the final runs of the sweeps differ, with a value per sweep.

    Schedulers, learning rates and seeds do not count.
    """
    configs = [_run_config(ranking.rows[0].runs[0]) for ranking in rankings.values()]
    differences = {}
    for key in dict.fromkeys(key for config in configs for key in config):
        values = [f"{config.get(key)}" for config in configs]
        if len(set(values)) > 1:
            differences[key] = values
    return differences


def _run_config(run: TrialResult) -> dict[str, Any]:
    """Return the values of a run by config key, without its scheduler and learning rate."""
    sections: Any = {"data": True, "model": True, "optimizer": {"name", "weight_decay", "args"}, "train": True}
    config: dict[str, Any] = {}
    for section, values in run.spec.model_dump(include=sections).items():
        config |= {f"{section}.{key}": value for key, value in values.items()}
    return {**config, "device": run.environment["device"], "torch": run.environment["torch"]}
