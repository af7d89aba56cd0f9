"""The sections of a report: sentences and tables, with all numbers as text."""

import math
from collections.abc import Mapping, Sequence

from lrbench.analysis.best_of_k import HIGH, LOW
from lrbench.analysis.comparison import are_linked
from lrbench.analysis.ranking import Ranking
from lrbench.analysis.row import Row
from lrbench.analysis.time_to_target import TimeToTarget
from lrbench.reporting import advice, differences, methods
from lrbench.reporting.answer import verdict_text
from lrbench.reporting.document import Block, Bullets, Section, Table, Text, interval_text
from lrbench.reporting.overrides import overrides
from lrbench.reporting.spaces import at_an_end
from lrbench.results.provenance import Provenance
from lrbench.results.result import EXTRA_TEST_ACCURACIES, TrialResult
from lrbench.search.space import Space
from lrbench.text import counted, duration, listed, percent, rank_range

SEARCH_COUNTS = ("trials", "runs", "diverged", "pruned")


def sections(
    ranking: Ranking,
    results: Sequence[TrialResult],
    provenance: Provenance,
    spaces: Mapping[str, Space],
    figures: Mapping[str, Block],
) -> list[Section]:
    """Return a report's sections. `figures` has the blocks of `draw_figures`, by file."""
    search_figures = [figures[f"{name}.png"] for name in ("peak", "slices", "history", "importances")]
    facts = Bullets(methods.methods(ranking, results, provenance))
    return [
        Section("What to use", advice.advice(ranking)),
        Section("Ranking", [*_ranking(ranking, spaces), figures["final.png"]]),
        Section("Differences", [*differences.differences(ranking, results, provenance), figures["ranks.png"]]),
        Section("Chosen configurations", [*_tuning(ranking), *_choices(ranking), figures["lr.png"]]),
        Section("Learning curves", [figures["accuracy.png"], figures["loss.png"], *_targets(ranking)]),
        Section("Number of trials", [*_best_of(ranking), figures["best_of.png"]]),
        Section("Search", [*_searches(ranking), *search_figures]),
        Section("Methods", [facts, *methods.commands(ranking, provenance)]),
        Section("Limitations", [Bullets(methods.limitations(ranking, results, provenance))]),
    ]


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


def chosen_arguments(row: Row) -> str:
    """Return the chosen configuration as it is written on a command line."""
    return " ".join(overrides(row.arguments))


def _ranking(ranking: Ranking, spaces: Mapping[str, Space]) -> list[Block]:
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


def _tuning(ranking: Ranking) -> list[Block]:
    columns = [
        "scheduler",
        "default, validation %",
        "chosen, validation %",
        "gain",
        "trial",
        "recommended configuration",
    ]
    rows = [
        [
            row.scheduler,
            percent(row.tuning.default_validation),
            percent(row.tuning.chosen_validation),
            percent(row.tuning.chosen_validation - row.tuning.default_validation),
            _trial(row),
            " ".join(f"`{override}`" for override in overrides(row.arguments)),
        ]
        for row in ranking.rows
    ]
    words = (
        "The table shows the validation accuracy of the default configuration (trial 0) and of the chosen trial in the "
        f"search{', without the runs that confirm a choice' if _is_confirmed(ranking) else ''}"
        f"{', as means over the searches' if ranking.is_by_search else ''}. The gain is optimistic, because a chosen "
        "trial is the best of several, in part by luck. The recommended configuration is the choice with the highest "
        "validation accuracy."
    )
    blocks: list[Block] = [Text(words), Table(columns, rows, left=(0, 5))]
    if any(row.tuning.test for row in ranking.rows):
        blocks += _tested_tuning(ranking)
    return blocks


def _is_confirmed(ranking: Ranking) -> bool:
    return any(outcome.confirmation for row in ranking.rows for outcome in row.outcomes)


def _tested_tuning(ranking: Ranking) -> list[Block]:
    columns = ["scheduler", "default, test %", "tuned, test %", "gain", *differences.test_columns(ranking)]
    rows = []
    for row in ranking.rows:
        if row.tuning.test and row.tuning.gain:
            default = row.tuning.test.mean
            _, gain, *rest = differences.test_cells("", row.tuning.gain, ranking)
            rows.append(
                [row.scheduler, percent(default), percent(default + row.tuning.gain.difference.mean), gain, *rest]
            )
    words = (
        "The second table shows the gain on the test images, in final runs. It is not optimistic. "
        f"The correction covers {counted(len(rows), 'comparison')}."
    )
    untested = [row for row in ranking.rows if not any(outcome.defaults for outcome in row.outcomes)]
    same = [row.scheduler for row in untested if all(one.choice and one.choice.trial == 0 for one in row.outcomes)]
    if same:
        words += f" The search chose the default for {listed(same)}."
    if missing := [row.scheduler for row in untested if row.scheduler not in same]:
        words += f" The default of {listed(missing)} has no final runs."
    return [Table(columns, rows, left=(0, 7)), Text(words)]


def _trial(row: Row) -> str:
    """Return the trial of the recommended configuration, after its search if there are several."""
    outcome = row.recommended
    assert outcome.choice
    return f"{outcome.number}: {outcome.choice.trial}" if len(row.outcomes) > 1 else f"{outcome.choice.trial}"


def _choices(ranking: Ranking) -> list[Block]:
    """Return the choices of all searches, and their accuracies."""
    if not ranking.is_by_search:
        return []
    columns = ["scheduler", "search", "trial", "validation %", "test accuracy, %", "final runs", "configuration"]
    rows = [
        [
            row.scheduler,
            f"{outcome.number}",
            f"{outcome.choice.trial}",
            percent(outcome.choice.score),
            percent(outcome.mean),
            f"{len(outcome.finals)}",
            " ".join(f"`{override}`" for override in overrides(outcome.arguments)),
        ]
        for row in ranking.rows
        for outcome in row.outcomes
        if outcome.choice
    ]
    words = "The choice of each search:"
    return [Text(words), Table(columns, rows, left=(0, 6))]


def _best_of(ranking: Ranking) -> list[Block]:
    """Return the expected validation accuracy of searches of 1, 2, 4, … trials."""
    numbers = best_of_numbers(ranking)
    rows = [
        [row.scheduler, *(percent(best.mean) if best else "" for best in row.best_of(numbers))] for row in ranking.rows
    ]
    leaders = []
    for place, number in enumerate(numbers, 1):
        highest = max((cells[place] for cells in rows if cells[place]), key=float, default="")
        best = [cells[0] for cells in rows if highest and cells[place] == highest]
        if best:
            leaders.append(f"with {counted(number, 'trial')} {listed(best)}")
    others = "the other trials"
    if ranking.is_by_search:
        others += " of all searches, so k may exceed the trials of one"
    words = (
        "The table shows the expected validation accuracy of the best of k trials, if a search had only so many: the "
        f"default configuration, then any k - 1 of {others}. {_sentence('The highest', leaders)}The band in "
        f"the figure has the central {100 * (HIGH - LOW):.0f} % of such searches. The best of noisy accuracies is "
        "optimistic, more so for larger k."
    )
    return [Table(["scheduler", *(f"k = {number}" for number in numbers)], rows), Text(words)]


def _sentence(subject: str, parts: Sequence[str]) -> str:
    return f"{subject}: {'; '.join(parts)}. " if parts else ""


def best_of_numbers(ranking: Ranking) -> list[int]:
    """Return the numbers of trials 1, 2, 4, … that some scheduler has."""
    most = 1 + max(sum(trial.number != 0 for trial in row.search.scored) for row in ranking.rows)
    return [2**power for power in range(most.bit_length()) if 2**power <= most]


def _targets(ranking: Ranking) -> list[Block]:
    if ranking.target is None:
        needs = "It needs held-out images (`final_train_images`) and a scheduler without diverged final runs."
        return [Text(f"The time to a target accuracy is not available. {needs}")]
    rows = [_target_cells(row.scheduler, row.time_to_target) for row in ranking.rows if row.time_to_target]
    every = counted(ranking.rows[0].runs[0].spec.train.eval_epochs, "epoch")
    words = (
        f"The table shows how many final runs reached {percent(ranking.target)} % validation accuracy, and their "
        f"median epochs and training time. Runs are evaluated every {every}, and the time excludes evaluations."
    )
    return [Text(words), Table(["scheduler", "reached by", "epochs", "time"], rows)]


def _target_cells(name: str, time: TimeToTarget) -> list[str]:
    epochs = f"{time.epochs:.2f}" if math.isfinite(time.epochs) else "not reached"
    seconds = duration(time.seconds) if math.isfinite(time.seconds) else "not reached"
    return [name, f"{time.runs} of {time.total}", epochs, seconds]


def _searches(ranking: Ranking) -> list[Block]:
    rows = [_search_cells(row.scheduler, [row]) for row in ranking.rows]
    total = _search_cells("all", ranking.rows) if len(rows) > 1 else ()
    return [
        Text("The cost of the search:"),
        Table(["scheduler", *SEARCH_COUNTS, "epochs", "time"], rows, total=total),
    ]


def _search_cells(name: str, rows: Sequence[Row]) -> list[str]:
    counts = [f"{sum(getattr(row.search, count) for row in rows)}" for count in SEARCH_COUNTS]
    epochs = sum(row.search.epochs for row in rows)
    seconds = sum(row.search.seconds for row in rows)
    return [name, *counts, f"{epochs:.1f}", duration(seconds)]
