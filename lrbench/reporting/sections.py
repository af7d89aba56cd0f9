"""The sections of a report: sentences and tables, with all numbers as text."""

import math
from collections.abc import Mapping, Sequence

from lrbench.analysis.ranking import Ranking, Row
from lrbench.analysis.statistics import LEVEL, MIN_PAIRS, PairedTest
from lrbench.analysis.time_to_target import TimeToTarget
from lrbench.reporting import methods
from lrbench.reporting.document import Block, Bullets, Section, Table, Text, gap_text, interval_text, p_text
from lrbench.results.provenance import Provenance
from lrbench.results.result import EXTRA_TEST_ACCURACIES, TrialResult
from lrbench.text import counted, duration, listed, percent, rank_range

TEST_COLUMNS = ("corrected interval", "p", "pairs", "verdict")
SEARCH_COUNTS = ("trials", "runs", "diverged", "pruned")


def sections(
    ranking: Ranking, results: Sequence[TrialResult], provenance: Provenance, figures: Mapping[str, Block]
) -> list[Section]:
    """Return a report's sections. `figures` has the blocks of `draw_figures`, by file."""
    search_figures = [figures[f"{name}.png"] for name in ("peak", "slices", "history", "importances")]
    facts = Bullets(methods.methods(ranking, results, provenance))
    return [
        Section("Ranking", [*_ranking(ranking), figures["final.png"]]),
        Section("Differences", [*_differences(ranking), figures["ranks.png"]]),
        Section("Chosen configurations", [*_tuning(ranking), figures["lr.png"]]),
        Section("Learning curves", [figures["accuracy.png"], figures["loss.png"], *_targets(ranking)]),
        Section("Search", [*_searches(ranking), *search_figures]),
        Section("Methods", [facts, *methods.commands(ranking, provenance)]),
        Section("Limitations", [Bullets(methods.limitations(ranking, results, provenance))]),
    ]


def answer(ranking: Ranking) -> str:
    """Return the result of the final runs in a few sentences."""
    best, others = ranking.rows[0], ranking.rows[1:]
    accuracy = f"{percent(best.mean.mean)} %"
    if not others:
        return f"There is only one scheduler, {best.scheduler}. Its mean test accuracy is {accuracy}."
    highest = f"{best.scheduler} has the highest mean test accuracy, {accuracy}"
    if not ranking.has_enough_pairs:
        runs = f"{counted(ranking.pairs, 'final run')} per scheduler"
        return f"{highest}, but {runs} cannot show a difference: at least {MIN_PAIRS} are needed. All schedulers tie."
    ties = [_with_diverged(row) for row in others if row.tied]
    worse = [_with_diverged(row) for row in others if not row.tied]
    if not ties:
        rivals = "every other scheduler" if len(worse) > 1 else listed(worse)
        return f"{highest}. It is significantly better than {rivals}."
    tie = f"It ties with {listed(ties)}: with {ranking.pairs} runs per scheduler, the differences are not significant."
    better = f" It is significantly better than {listed(worse)}." if worse else ""
    return f"{highest}. {tie}{better}"


def _with_diverged(row: Row) -> str:
    return f"{row.scheduler} ({row.diverged} diverged)" if row.diverged else row.scheduler


def ranking_table(ranking: Ranking) -> Table:
    """Return the ranking, the best first."""
    columns = ["rank", "scheduler", "test accuracy, %", "95 % interval", "gap to the best", "runs", "diverged"]
    rows = [
        [
            rank_range(*row.ranks),
            row.scheduler,
            percent(row.mean.mean),
            interval_text(row.mean),
            gap_to_best(row, ranking),
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
    return Table(columns, rows, left=(1,))


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


def gap_to_best(row: Row, ranking: Ranking) -> str:
    """Return the gap of a scheduler to the best one as the cell of a table."""
    if row is ranking.rows[0]:
        return "the best" if len(ranking.rows) > 1 else ""
    return gap_text(row.gap_to_best)


def chosen_arguments(row: Row) -> str:
    """Return the chosen configuration as it is written on a command line."""
    return " ".join(_overrides(row))


def _overrides(row: Row) -> list[str]:
    return [
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.arguments.items()
    ]


def _ranking(ranking: Ranking) -> list[Block]:
    words = ["Mean test accuracy of the final runs, with its 95 % interval by Student's t over the seeds."]
    if len(ranking.rows) > 1:
        words.append(
            "Rank 2-4 means: one scheduler is significantly better, those after the fourth are significantly worse, "
            "and the rest are not significantly different."
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
    return [ranking_table(ranking), Text(" ".join(words))]


def _differences(ranking: Ranking) -> list[Block]:
    if len(ranking.rows) == 1:
        return [Text("There is only one scheduler, so there are no differences.")]
    if not ranking.has_enough_pairs:
        return _differences_without_tests(ranking)
    return [*_gap_tests(ranking), *_gain_tests(ranking)]


def _gap_tests(ranking: Ranking) -> list[Block]:
    """Return the paired tests of the best scheduler against every other."""
    best, *others = ranking.rows
    words = (
        "Differences of test accuracy in points, paired by seed. p is the p-value of the paired t test, adjusted by "
        "Holm's procedure for the number of comparisons. The procedure gives each comparison its own level. The "
        f"interval has this level, so it excludes 0 exactly if p is below {LEVEL:g}."
    )
    rows = [_test_cells(row.scheduler, row.gap_to_best, "worse", "better") for row in others]
    table = Table(["scheduler", f"gap to {best.scheduler}", *TEST_COLUMNS], rows, left=(0, 5))
    blocks: list[Block] = [Text(words), table]
    pairs = math.comb(len(ranking.rows), 2)
    if pairs > 1:
        reason = "because the best scheduler is known only after looking at the results"
        blocks.append(Text(f"The correction covers all {pairs} pairs of schedulers, {reason}."))
    return blocks


def _gain_tests(ranking: Ranking) -> list[Block]:
    """Return the paired tests of the baseline against every other scheduler."""
    gains = _gains_over_baseline(ranking)
    if not gains:
        return []
    rows = [_test_cells(name, gain, "better", "worse") for name, gain in gains.items()]
    comparisons = f"the {counted(len(gains), 'comparison')} with the baseline {ranking.baseline}"
    return [
        Table(["scheduler", f"gain over {ranking.baseline}", *TEST_COLUMNS], rows, left=(0, 5)),
        Text(
            f"The correction covers {comparisons}. This correction is valid only if the baseline was chosen before "
            "the results were known."
        ),
    ]


def _gains_over_baseline(ranking: Ranking) -> dict[str, PairedTest]:
    """Return the tests against the baseline. It is empty if the gaps to the best show them all."""
    if ranking.baseline == ranking.rows[0].scheduler or len(ranking.rows) == 2:
        return {}
    return {row.scheduler: row.gain_over_baseline for row in ranking.rows if row.gain_over_baseline}


def _differences_without_tests(ranking: Ranking) -> list[Block]:
    """Return the mean differences alone, because there are too few pairs for tests."""
    columns = ["scheduler", f"gap to {ranking.rows[0].scheduler}", "pairs"]
    rows = [
        [row.scheduler, percent(row.gap_to_best.difference.mean), f"{row.gap_to_best.pairs}"] for row in ranking.rows
    ]
    gains = _gains_over_baseline(ranking)
    if gains:
        columns.insert(2, f"gain over {ranking.baseline}")
        for cells in rows:
            gain = gains.get(cells[0])
            cells.insert(2, percent(gain.difference.mean) if gain else "")
    few = f"{counted(ranking.pairs, 'final run')} per scheduler cannot show a difference"
    words = f"Mean differences of test accuracy in points, paired by seed. **{few}**: at least {MIN_PAIRS} are needed."
    return [Text(f"{words} So there are no intervals and no tests."), Table(columns, rows)]


def _test_cells(name: str, test: PairedTest, positive: str, negative: str) -> list[str]:
    enough = test.pairs >= MIN_PAIRS
    interval = [interval_text(test.difference), p_text(test.p).removeprefix("= ")] if enough else ["", ""]
    verdict = _verdict(test, positive, negative) if enough else "too few runs"
    return [name, percent(test.difference.mean), *interval, f"{test.pairs}", verdict]


def _verdict(test: PairedTest, positive: str, negative: str) -> str:
    if not test.significant:
        return "tie"
    return positive if test.difference.mean > 0 else negative


def _tuning(ranking: Ranking) -> list[Block]:
    columns = ["scheduler", "default, validation %", "chosen, validation %", "gain", "trial", "chosen configuration"]
    rows = [
        [
            row.scheduler,
            percent(row.tuning.default_validation),
            percent(row.tuning.chosen_validation),
            percent(row.tuning.chosen_validation - row.tuning.default_validation),
            f"{row.trial}",
            " ".join(f"`{override}`" for override in _overrides(row)),
        ]
        for row in ranking.rows
    ]
    words = (
        "The table shows the validation accuracy of the default configuration (trial 0) and of the chosen trial. The "
        "gain is optimistic, because the chosen trial is the best of many, in part by luck."
    )
    blocks: list[Block] = [Text(words), Table(columns, rows, left=(0, 5))]
    if any(row.tuning.test for row in ranking.rows):
        blocks += _tested_tuning(ranking)
    return blocks


def _tested_tuning(ranking: Ranking) -> list[Block]:
    columns = ["scheduler", "default, test %", "tuned, test %", "gain", *TEST_COLUMNS]
    rows = []
    for row in ranking.rows:
        if row.tuning.test and row.tuning.gain:
            _, gain, *rest = _test_cells("", row.tuning.gain, "better", "worse")
            rows.append([row.scheduler, percent(row.tuning.test.mean), percent(row.mean.mean), gain, *rest])
    words = (
        "The second table shows the gain on the test images, in final runs. It is not optimistic. "
        f"The correction covers {counted(len(rows), 'comparison')}."
    )
    same = [row.scheduler for row in ranking.rows if row.trial == 0]
    if same:
        words += f" The search chose the default for {listed(same)}."
    return [Table(columns, rows, left=(0, 7)), Text(words)]


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
