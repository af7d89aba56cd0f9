"""The rankings of several sweeps beside each other."""

import math
from collections.abc import Mapping
from typing import Any

from scipy import stats as scipy_stats

from lrbench.blocks import Table, between, listed, percent
from lrbench.comparison import Ranking, Row
from lrbench.results import TrialResult
from lrbench.stats import independent_difference

WIDE = 3  # sweeps that have room for intervals and ranks beside each other


def compare(rankings: Mapping[str, Ranking]) -> tuple[Table, list[str]]:
    """Return a table with a line for each scheduler and columns for each sweep, by its name, and what there is to say of them.

    Where there are two sweeps, the last column is the second one's accuracy minus the first's; of more than WIDE, there are means alone.
    """
    rows = {name: {row.scheduler: row for row in ranking.rows} for name, ranking in rankings.items()}
    schedulers = dict.fromkeys(scheduler for by_scheduler in rows.values() for scheduler in by_scheduler)
    two = len(rankings) == 2
    shown = slice(3 if len(rankings) <= WIDE else 1)
    columns = ["", *(column for name in rankings for column in (name, "95 % interval", "rank")[shown])]
    cells = [
        [scheduler, *(cell for by_scheduler in rows.values() for cell in _cells(by_scheduler.get(scheduler))[shown])]
        + ([_difference(*(by_scheduler.get(scheduler) for by_scheduler in rows.values()))] if two else [])
        for scheduler in schedulers
    ]
    words = [f"{name}: {_first(ranking)}" for name, ranking in rankings.items()]
    if two:
        words.append(f"difference: {' minus '.join(reversed(list(rankings)))}, by Welch's t, not corrected for being many")
    return Table([*columns, *(["difference, 95 % interval"] if two else [])], cells), [*words, *_agreement(rows), *_what_differs(rankings)]


def _cells(row: Row | None) -> list[str]:
    if row is None:
        return ["", "", ""]
    first, last = row.ranks
    return [percent(row.mean.mean), between(row.mean), f"{first}" if first == last else f"{first}-{last}"]


def _difference(first: Row | None, second: Row | None) -> str:
    if first is None or second is None:
        return ""
    difference = independent_difference(second.accuracies, first.accuracies)
    ends = between(difference)
    return f"{percent(difference.mean)}{f' ({ends})' if ends else ''}"


def _first(ranking: Ranking) -> str:
    ties = [row.scheduler for row in ranking.rows if row.tied]
    if not ranking.claimable:
        return f"{ranking.pairs} final runs each are too few to claim anything"
    return f"first {listed(ties)}{', a tie' if len(ties) > 1 else ''}"


def _agreement(rows: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """Return how far two sweeps agree in the order of the schedulers that both have; at least three of them."""
    first, second = list(rows.values())[:2]
    both = [scheduler for scheduler in first if scheduler in second]
    if len(rows) != 2 or len(both) < 3:
        return []
    tau = float(scipy_stats.kendalltau(*([by[scheduler].mean.mean for scheduler in both] for by in (first, second))).statistic)
    return (
        []
        if math.isnan(tau)
        else [f"order of the {len(both)} schedulers in both: Kendall's tau {tau:.2f} (1 the same, 0 unrelated, -1 reversed)"]
    )


def _what_differs(rankings: Mapping[str, Ranking]) -> list[str]:
    differing = differences(rankings)
    if not differing:
        return ["the final runs differ in nothing but their seeds and what their searches chose"]
    return ["the final runs differ in:", *(f"  {key}: {', '.join(values)}" for key, values in differing.items())]


def differences(rankings: Mapping[str, Ranking]) -> dict[str, list[str]]:
    """Return in what the final runs of the sweeps differ beside the schedulers, rates and seeds, by config key, a value for each sweep."""
    leaves = [_leaves(ranking.rows[0].runs[0]) for ranking in rankings.values()]
    keys = dict.fromkeys(key for of_one in leaves for key in of_one)
    values = {key: [f"{of_one.get(key)}" for of_one in leaves] for key in keys}
    return {key: found for key, found in values.items() if len(set(found)) > 1}


def _leaves(run: TrialResult) -> dict[str, Any]:
    """Return what a run was, by config key, but for its scheduler and rate."""
    spec = run.spec.model_dump(include={"data": True, "model": True, "optimizer": {"name", "weight_decay", "args"}, "train": True})
    flat = {f"{section}.{key}": value for section, values in spec.items() for key, value in values.items()}
    return {**flat, "device": run.environment["device"], "torch": run.environment["torch"]}
