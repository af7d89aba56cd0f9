"""The section of a report with the ranking: its table, and what the columns mean."""

from collections.abc import Mapping

from lrbench.analysis.comparison import are_linked
from lrbench.analysis.ranking import Ranking
from lrbench.analysis.row import Row
from lrbench.reporting.answer import verdict_text
from lrbench.reporting.document import Block, Bullets, Table, interval_text
from lrbench.reporting.spaces import at_an_end
from lrbench.results.result import EXTRA_TEST_ACCURACIES
from lrbench.search.space import Space
from lrbench.text import counted, listed, percent, rank_range


def ranking_table(ranking: Ranking, spaces: Mapping[str, Space]) -> Table:
    """Return the ranking, the best first."""
    columns = ["rank", "scheduler", "test accuracy, %", "95 % interval", "gap to the best", "verdict"]
    columns += ["final runs", "diverged"]
    rows = [
        [
            rank_range(*row.ranks),
            row.scheduler,
            percent(row.mean.mean),
            interval_text(row.mean),
            *gap_and_verdict(row, ranking),
            f"{len(row.runs)}",
            f"{row.diverged}",
        ]
        for row in ranking.rows
    ]
    if any(row.unstable for row in ranking.rows):
        columns.append("unstable runs")
        for cells, row in zip(rows, ranking.rows, strict=True):
            cells.append(_unstable_runs(row))
    if any(row.best_epoch for row in ranking.rows):
        columns.append("best epoch's test accuracy, %")
        for cells, row in zip(rows, ranking.rows, strict=True):
            cells.append(percent(row.best_epoch.mean) if row.best_epoch else "")
    for metric, name in _extra_columns(ranking).items():
        columns.append(f"{name}, %")
        for cells, row in zip(rows, ranking.rows, strict=True):
            cells.append(percent(row.extra_accuracies[metric]) if metric in row.extra_accuracies else "")
    if any(_neighbours(row) for row in ranking.rows):
        columns.append("at half / twice the peak rate, points")
        for cells, row in zip(rows, ranking.rows, strict=True):
            cells.append(_neighbours(row))
    ends = {row.scheduler: at_an_end(row, spaces.get(row.scheduler, {})) for row in ranking.rows}
    left = [1, 5]
    if any(ends.values()):
        left.append(len(columns))
        columns.append("at an end of its range")
        for cells in rows:
            cells.append(", ".join(ends[cells[1]]))
    return Table(columns, rows, tuple(left))


def _neighbours(row: Row) -> str:
    """Return the changes at half and at twice the peak rate, an empty text without such runs."""
    changes = (row.robustness.half, row.robustness.double)
    if changes == (None, None):
        return ""
    return " / ".join("not measured" if change is None else f"{100 * change:+.2f}" for change in changes)


def _extra_columns(ranking: Ranking) -> dict[str, str]:
    """Return the names of the extra test accuracies that a row has, by metric."""
    train = ranking.rows[0].runs[0].spec.train
    average = {"ema": "EMA", "lookahead": "lookahead"}.get(train.average, "average")
    names = (f"{train.test_views} views", average, f"{average} and {train.test_views} views")
    present = {metric for row in ranking.rows for metric in row.extra_accuracies}
    return {metric: name for metric, name in zip(EXTRA_TEST_ACCURACIES, names, strict=True) if metric in present}


def _unstable_runs(row: Row) -> str:
    """Return how many final runs had loss spikes, and the largest loss."""
    if not row.unstable:
        return ""
    losses = [run.loss_spikes.largest for run in row.unstable if run.loss_spikes and run.loss_spikes.largest]
    largest = f"{max(losses):.3g}" if losses else "NaN"
    return f"{len(row.unstable)} of {len(row.runs)}, loss up to {largest}"


def gap_and_verdict(row: Row, ranking: Ranking) -> tuple[str, str]:
    """Return the gap of a scheduler to the best one and what it shows, as cells of a table."""
    if len(ranking.rows) == 1:
        return "", ""
    gap = "" if row.is_best else percent(row.gap_to_best.difference.mean)
    return gap, verdict_text(row.relation, ranking.delta)


def ranking_blocks(ranking: Ranking, spaces: Mapping[str, Space]) -> list[Block]:
    """Return the ranking and what its columns mean."""
    words = [_meaning_of_the_mean(ranking)]
    if len(ranking.rows) > 1:
        words += _meaning_of_ranks_and_verdicts(ranking)
    table = ranking_table(ranking, spaces)
    if "at an end of its range" in table.columns:
        words.append(
            "At least half of the searches of a scheduler chose the last column's hyperparameter near an end of its "
            "range, so a wider search may find a better configuration."
        )
    if any(_neighbours(row) for row in ranking.rows):
        words.append(
            "The column of half and twice the peak rate shows the change of accuracy there, from one final run for "
            "each search with the same seed. It is no part of the ranking."
        )
    if noisy := [row.scheduler for row in ranking.rows if row.is_noisy]:
        words.append(
            f"{listed(noisy)}: the means of {'its' if len(noisy) == 1 else 'their'} searches scatter more than the "
            "means of other schedulers (F test), so the intervals and tests use "
            f"{'this' if len(noisy) == 1 else 'each'} scheduler's own deviation."
        )
    if any(row.diverged for row in ranking.rows):
        chance = percent(ranking.rows[0].runs[0].chance_accuracy)
        words.append(f"Diverged runs count with chance accuracy, {chance} %.")
    if any(row.best_epoch for row in ranking.rows):
        words.append(
            "The best epoch's test accuracy is the highest of several evaluations on the test images. It is "
            "optimistic: use it only to compare with tables that report it."
        )
    if extra := _extra_columns(ranking):
        words.append(
            f"Further test accuracies, which do not count for the ranking: {listed(list(extra.values()))}. Views are "
            "shifted and mirrored copies of a test image, whose outputs are averaged. EMA and lookahead average "
            "the weights over the steps."
        )
    if any(row.unstable for row in ranking.rows):
        words.append(
            "In an unstable run, the training loss of a step was NaN or above three times the loss of guessing. Most "
            "such runs blow up at their start, so a lower peak learning rate or a warm-up may change the ranking."
        )
    if ranking.unranked:
        words.append(
            f"Not ranked, because the final runs of the chosen configuration are missing: {listed(ranking.unranked)}."
        )
    return [table, Bullets(words)]


def _meaning_of_ranks_and_verdicts(ranking: Ranking) -> list[str]:
    """Return what the narrowest range of ranks means, and what undecided means."""
    words = []
    shared = [row.ranks for row in ranking.rows if row.ranks[0] < row.ranks[1]]
    if shared:
        first, last = min(shared, key=lambda ranks: ranks[1] - ranks[0])
        worse = len(ranking.rows) - last
        words.append(
            f"Rank {rank_range(first, last)} means: {_significantly(first - 1, 'better')}, "
            f"{_significantly(worse, 'worse')}, and the rest are not significantly different."
        )
    if any(row.relation == "undecided" for row in ranking.rows):
        words.append(
            f"Undecided means that neither a difference nor equality within {percent(ranking.delta)} points is shown: "
            "it is no tie."
        )
    return words


def _significantly(count: int, relation: str) -> str:
    schedulers = f"{counted(count, 'scheduler')} {'is' if count == 1 else 'are'}" if count else "no scheduler is"
    return f"{schedulers} significantly {relation}"


def _meaning_of_the_mean(ranking: Ranking) -> str:
    if ranking.is_by_search:
        adjusted = ""
        values = [row.values for row in ranking.rows]
        if len(set(map(frozenset, values))) > 1 and are_linked(values):
            adjusted = " If a scheduler lacks searches, its mean is adjusted: the others show how easy these were."
        return (
            f"Mean test accuracy over up to {ranking.searches} independent searches, each with final runs of its "
            "choice, and its 95 % interval. The interval covers both the luck of a search and the luck of the seeds, "
            f"so the claims are about schedulers that are tuned by such a search.{adjusted}"
        )
    shared = ""
    if len({frozenset(row.values) for row in ranking.rows}) > 1:
        shared = " If a scheduler lacks seeds, its gap is over the shared seeds, and is no difference of two means."
    return (
        "Mean test accuracy of the final runs, with its 95 % interval by Student's t over the seeds. There was one "
        "search, so the claims are about the chosen configurations, not about the schedulers: another search may "
        f"choose others. `searches=4` compares schedulers.{shared}"
    )
