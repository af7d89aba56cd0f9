"""The sections of a report: sentences and tables, with all numbers as text."""

import math
from collections.abc import Mapping, Sequence

from lrbench.analysis.best_of_k import HIGH, LOW
from lrbench.analysis.ranking import Ranking
from lrbench.analysis.row import Row
from lrbench.analysis.time_to_target import TimeToTarget
from lrbench.reporting import advice, differences, methods
from lrbench.reporting.document import Block, Bullets, Section, Table, Text
from lrbench.reporting.overrides import overrides
from lrbench.reporting.ranking_table import ranking_blocks
from lrbench.results.provenance import Provenance
from lrbench.results.result import TrialResult
from lrbench.search.space import Space
from lrbench.text import counted, duration, listed, percent

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
        Section("Ranking", [*ranking_blocks(ranking, spaces), figures["final.png"]]),
        Section("Differences", [*differences.differences(ranking, results, provenance), figures["ranks.png"]]),
        Section("Chosen configurations", [*_tuning(ranking), *_choices(ranking), figures["lr.png"]]),
        Section("Learning curves", [figures["accuracy.png"], figures["loss.png"], *_targets(ranking)]),
        Section("Number of trials", [*_best_of(ranking), figures["best_of.png"]]),
        Section("Search", [*_searches(ranking), *search_figures]),
        Section("Methods", [facts, *methods.commands(ranking, provenance)]),
        Section("Limitations", [Bullets(methods.limitations(ranking, results, provenance))]),
    ]


def chosen_arguments(row: Row) -> str:
    """Return the chosen configuration as it is written on a command line."""
    return " ".join(overrides(row.arguments))


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
