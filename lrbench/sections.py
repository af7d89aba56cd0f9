"""The sections of a report: its words and tables, from the numbers of a comparison. Numbers become text here and nowhere else."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from lrbench import circumstances
from lrbench.blocks import Block, Bullets, Picture, Section, Table, Text, between, counted, duration, listed, percent
from lrbench.comparison import Ranking, Row
from lrbench.provenance import Provenance
from lrbench.results import CHANCE_ACCURACY, TrialResult
from lrbench.stats import LEVEL, MIN_PAIRS, Comparison

COMPARED = ("corrected interval", "p", "pairs", "so it is")


def sections(
    ranking: Ranking, found: Sequence[TrialResult], provenance: Provenance, pictures: Mapping[str, str], folder: Path
) -> list[Section]:
    """Return a report's sections; `pictures` says for each file what it shows, or, where it is not in `folder`, why there is none."""

    def shown(*files: str) -> list[Block]:
        return [Picture(file, pictures[file]) if (folder / file).exists() else Text(pictures[file]) for file in files]

    return [
        Section("Ranking", [*_ranking(ranking), *shown("final.png")]),
        Section("Differences", [*_differences(ranking), *shown("ranks.png")]),
        Section("The chosen configurations", [*_tuning(ranking), *shown("lr.png")]),
        Section("How they learn", [*shown("accuracy.png", "loss.png"), *_targets(ranking)]),
        Section("The search", [*_searches(ranking), *shown("peak.png", "slices.png", "history.png", "importances.png")]),
        Section("How it was made", [Bullets(circumstances.made(ranking, found, provenance)), *circumstances.commands(ranking, provenance)]),
        Section("What this does not show", [Bullets(circumstances.limits(ranking, found, provenance))]),
    ]


def answer(ranking: Ranking) -> str:
    """Return what the final runs say, in a few sentences."""
    best, others = ranking.rows[0], ranking.rows[1:]
    highest = f"{best.scheduler} has the highest mean test accuracy, {percent(best.mean.mean)} %"
    if not others:
        return f"One scheduler: there is nothing to compare {best.scheduler} with. Its mean test accuracy is {percent(best.mean.mean)} %."
    if not ranking.claimable:
        few = f"{counted(ranking.pairs, 'final run')} each are too few to claim that one scheduler is better than another"
        return f"{highest}, but {few} ({MIN_PAIRS} pairs are the least): nothing can be claimed, and all are ties here."
    ties, worse = ([_with_diverged(row) for row in others if row.tied is tied] for tied in (True, False))
    if not ties:
        return f"{highest}, and is better than {'every other scheduler' if len(worse) > 1 else listed(worse)} here."
    tie = f"with {listed(ties)}: {ranking.pairs} runs each cannot tell them apart"
    return f"{highest}. It ties {tie}. It is better than {listed(worse)}." if worse else f"{highest}, but that is a tie {tie}."


def _with_diverged(row: Row) -> str:
    return f"{row.scheduler} ({row.diverged} diverged)" if row.diverged else row.scheduler


def ranking_table(ranking: Ranking) -> Table:
    """Return the ranking, the best first."""
    best_epoch = any(row.best_epoch for row in ranking.rows)
    extra = ["best epoch's test accuracy, %"] if best_epoch else []
    rows = [
        [
            _rank(row),
            row.scheduler,
            percent(row.mean.mean),
            between(row.mean),
            _behind(row) if row is not ranking.rows[0] else "the best" if len(ranking.rows) > 1 else "",
            f"{len(row.runs)}",
            f"{row.diverged}",
            *([percent(row.best_epoch.mean) if row.best_epoch else ""] if best_epoch else []),
        ]
        for row in ranking.rows
    ]
    return Table(["rank", "scheduler", "test accuracy, %", "95 % interval", "behind the best", "runs", "diverged", *extra], rows, left=(1,))


def arguments(row: Row) -> str:
    """Return the chosen configuration as it is written on a command line."""
    return " ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.arguments.items())


def _ranking(ranking: Ranking) -> list[Block]:
    words = ["Mean test accuracy of the final runs, with its 95 % interval by Student's t over the seeds."]
    if len(ranking.rows) > 1:
        words.append(
            "A rank such as 2-4 is a tie: one scheduler is shown to be better, all after the fourth are shown to be worse, and the others "
            "cannot be told from it."
        )
    if any(row.diverged for row in ranking.rows):
        words.append(f"Runs that diverged count with chance accuracy, {percent(CHANCE_ACCURACY)} %.")
    if any(row.best_epoch for row in ranking.rows):
        words.append(
            "The best epoch's test accuracy is the highest of several looks at the test images: too high, and here only to compare with "
            "tables that report it."
        )
    if ranking.unranked:
        words.append(f"Not ranked, as the final runs of their chosen configurations are missing: {listed(ranking.unranked)}.")
    return [ranking_table(ranking), Text(" ".join(words))]


def _rank(row: Row) -> str:
    first, last = row.ranks
    return f"{first}" if first == last else f"{first}-{last}"


def _behind(row: Row) -> str:
    return f"{percent(row.behind.difference.mean)}{' (tie)' if row.tied else ''}"


def _differences(ranking: Ranking) -> list[Block]:
    best, others = ranking.rows[0], ranking.rows[1:]
    if not others:
        return [Text("One scheduler: there is none to compare it with.")]
    over = [row for row in ranking.rows if row.over_baseline] if ranking.baseline != best.scheduler and len(others) > 1 else []
    if not ranking.claimable:
        return _differences_of_few(ranking, over)
    procedure = (
        "Differences of test accuracy in points, taken seed by seed, and corrected by Holm's procedure for being many: p is the adjusted "
        f"p-value of the paired t test, and the interval has the level of its step, {100 * LEVEL:g} % shared by the comparisons that are "
        f"not decided yet, so that it leaves out 0 exactly where p is below {LEVEL:g}."
    )
    pairs = len(ranking.rows) * len(others) // 2
    blocks: list[Block] = [Text(procedure)]
    behind = [_compared(row.scheduler, row.behind, "worse", "better") for row in others]
    blocks.append(Table(["scheduler", f"behind {best.scheduler}", *COMPARED], behind, left=(0, 5)))
    if pairs > 1:
        blocks.append(Text(f"Corrected for all {pairs} pairs of schedulers, as which one is the best is known only after looking."))
    if over:
        compared = [_compared(row.scheduler, row.over_baseline, "better", "worse") for row in over if row.over_baseline]
        blocks.append(Table(["scheduler", f"over {ranking.baseline}", *COMPARED], compared, left=(0, 5)))
        blocks.append(Text(f"Corrected for the {len(over)} comparisons with the baseline {ranking.baseline}, which was known before."))
    return blocks


def _differences_of_few(ranking: Ranking, over: Sequence[Row]) -> list[Block]:
    """Return the differences where there are too few pairs for intervals that mean anything."""
    columns = ["scheduler", f"behind {ranking.rows[0].scheduler}", *([f"over {ranking.baseline}"] if over else []), "pairs"]
    rows = [
        [
            row.scheduler,
            percent(row.behind.difference.mean),
            *([percent(row.over_baseline.difference.mean) if row.over_baseline else ""] if over else []),
            f"{row.behind.pairs}",
        ]
        for row in ranking.rows
    ]
    few = f"With {counted(ranking.pairs, 'final run')} each nothing can be claimed, as {MIN_PAIRS} pairs are the least"
    words = f"Mean differences of test accuracy in points, taken seed by seed. **{few}**: so there are no intervals and no tests."
    return [Text(words), Table(columns, rows)]


def _compared(name: str, one: Comparison, positive: str, negative: str) -> list[str]:
    verdict = (
        "not known, too few" if one.pairs < MIN_PAIRS else "a tie" if not one.claimed else positive if one.difference.mean > 0 else negative
    )
    p = "< 0.001" if one.p < 0.001 else f"{one.p:.3f}"
    known = [between(one.difference), p] if one.pairs >= MIN_PAIRS else ["", ""]
    return [name, percent(one.difference.mean), *known, f"{one.pairs}", verdict]


def _tuning(ranking: Ranking) -> list[Block]:
    tested = any(row.tuning.test for row in ranking.rows)
    columns = ["scheduler", "default, validation %", "chosen, validation %", "gain", "trial", "chosen configuration"]
    rows = [
        [
            row.scheduler,
            percent(row.tuning.default_validation),
            percent(row.tuning.chosen_validation),
            percent(row.tuning.chosen_validation - row.tuning.default_validation),
            f"{row.trial}",
            " ".join(f"`{argument}`" for argument in arguments(row).split(" ") if argument),
        ]
        for row in ranking.rows
    ]
    words = (
        "What tuning was worth: the validation accuracy, in the search, of the configuration as it stands in its file (trial 0) and of the "
        "chosen trial. The gain is optimistic, as the chosen one is the highest of all trials, luck included."
    )
    blocks: list[Block] = [Text(words), Table(columns, rows, left=(0, 5))]
    if tested:
        blocks += _tested_tuning(ranking)
    return blocks


def _tested_tuning(ranking: Ranking) -> list[Block]:
    columns = ["scheduler", "default, test %", "tuned, test %", "gain", "corrected interval", "p", "pairs", "tuned is"]
    rows = []
    for row in ranking.rows:
        if row.tuning.test and row.tuning.gain:
            _, gain, *rest = _compared("", row.tuning.gain, "better", "worse")
            rows.append([row.scheduler, percent(row.tuning.test.mean), percent(row.mean.mean), gain, *rest])
    same = [row.scheduler for row in ranking.rows if row.trial == 0]
    words = f"The same over final runs, on test images: a fair comparison, corrected for the {len(rows)} of them."
    if same:
        words += f" The default was chosen by itself for {listed(same)}."
    return [Table(columns, rows, left=(0, 7)), Text(words)]


def _targets(ranking: Ranking) -> list[Block]:
    if ranking.target is None:
        return [Text("Time to a target: unavailable, as the final runs hold no images out (`final_train_images=null`).")]
    train = ranking.rows[0].runs[0].spec.train
    rows = [
        [
            row.scheduler,
            f"{row.reached.runs} of {row.reached.of}",
            f"{row.reached.epochs:.2f}" if math.isfinite(row.reached.epochs) else "not reached",
            duration(row.reached.seconds) if math.isfinite(row.reached.seconds) else "not reached",
        ]
        for row in ranking.rows
        if row.reached
    ]
    words = (
        f"Time to {percent(ranking.target)} % validation accuracy: how many of the final runs had it at an evaluation, every "
        f"{counted(train.eval_epochs, 'epoch')}, and the median of what that took; training time without evaluations."
    )
    return [Text(words), Table(["scheduler", "reached by", "epochs", "time"], rows)]


def _searches(ranking: Ranking) -> list[Block]:
    rows = [_search(row.scheduler, [row]) for row in ranking.rows]
    total = _search("all", ranking.rows) if len(rows) > 1 else ()
    return [
        Text("What the search cost:"),
        Table(["scheduler", "trials", "runs", "diverged", "pruned", "epochs", "time"], rows, total=total),
    ]


def _search(name: str, rows: Sequence[Row]) -> list[str]:
    counts = (sum(getattr(row.search, what) for row in rows) for what in ("trials", "runs", "diverged", "pruned"))
    epochs, seconds = (sum(getattr(row.search, what) for row in rows) for what in ("epochs", "seconds"))
    return [name, *(f"{count}" for count in counts), f"{epochs:.1f}", duration(seconds)]
