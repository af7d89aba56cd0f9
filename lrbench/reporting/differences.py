"""The section of a report on differences: tests, and the effort that would decide the others."""

import math
import shlex
from collections.abc import Sequence

from lrbench.analysis.planning import MAX_PAIRS, POWER, pairs_to_decide
from lrbench.analysis.ranking import Ranking
from lrbench.analysis.row import Row
from lrbench.analysis.statistics import LEVEL, PairedTest
from lrbench.reporting.answer import counted_pairs, verdict_text
from lrbench.reporting.document import Block, Commands, Table, Text, interval_text, p_text
from lrbench.results.provenance import Provenance
from lrbench.results.result import TrialResult
from lrbench.text import counted, duration, listed, percent

MAX_COMMANDS = 3


def differences(ranking: Ranking, results: Sequence[TrialResult], provenance: Provenance) -> list[Block]:
    """Return the tests of all schedulers against the best one and against the baseline."""
    if len(ranking.rows) == 1:
        return [Text("Only one scheduler is ranked, so there are no differences.")]
    if not ranking.has_enough_pairs:
        return _differences_without_tests(ranking)
    return [*_gap_tests(ranking), *_gain_tests(ranking), *_what_would_decide(ranking, results, provenance)]


def test_columns(ranking: Ranking) -> list[str]:
    """Return the last columns of a table of tests."""
    return ["corrected interval", "p", "searches" if ranking.is_by_search else "seeds", "verdict"]


def test_cells(name: str, test: PairedTest, ranking: Ranking) -> list[str]:
    """Return a name, a difference and its test as cells. The verdict is about the name."""
    enough = test.pairs >= test.needed
    interval = [interval_text(test.difference), p_text(test.p).removeprefix("= ")] if enough else ["", ""]
    return [name, percent(test.difference.mean), *interval, f"{test.pairs}", verdict_text(test.verdict, ranking.delta)]


def _gap_tests(ranking: Ranking) -> list[Block]:
    """Return the tests of the best scheduler against every other."""
    best, *others = ranking.rows
    if ranking.is_by_search:
        method = (
            "Differences of test accuracy in points, paired by search. The tests are t tests after a two-way layout "
            "of schedulers and searches: all schedulers that scatter alike share the deviation of the residuals. "
        )
    else:
        method = "Differences of test accuracy in points, paired by seed, with paired t tests. "
    words = (
        f"{method}p is adjusted by Holm's procedure for the number of comparisons. The procedure gives each comparison "
        f"its own level. The interval has this level, so it excludes 0 exactly if p is below {LEVEL:g}. Equality "
        f"within {percent(ranking.delta)} points is shown by two one-sided tests, corrected in the same way."
    )
    rows = [_gap_cells(row, ranking) for row in others]
    table = Table(["scheduler", f"gap to {best.scheduler}", *test_columns(ranking)], rows, left=(0, 5))
    blocks: list[Block] = [Text(words), table]
    pairs = math.comb(len(ranking.rows), 2)
    if pairs > 1:
        reason = "because the best scheduler is known only after looking at the results"
        blocks.append(Text(f"The correction covers all {pairs} pairs of schedulers, {reason}."))
    return blocks


def _gap_cells(row: Row, ranking: Ranking) -> list[str]:
    cells = test_cells(row.scheduler, row.gap_to_best, ranking)
    return [*cells[:-1], {"better": "worse", "worse": "better"}.get(cells[-1], cells[-1])]


def _gain_tests(ranking: Ranking) -> list[Block]:
    """Return the tests of the baseline against every other scheduler."""
    gains = _gains_over_baseline(ranking)
    if not gains:
        return []
    rows = [test_cells(name, gain, ranking) for name, gain in gains.items()]
    comparisons = f"the {counted(len(gains), 'comparison')} with the baseline {ranking.baseline}"
    return [
        Table(["scheduler", f"gain over {ranking.baseline}", *test_columns(ranking)], rows, left=(0, 5)),
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
    pairs = "searches" if ranking.is_by_search else "seeds"
    columns = ["scheduler", f"gap to {ranking.rows[0].scheduler}", pairs]
    rows = [[row.scheduler, percent(row.gap_to_best.difference.mean), f"{len(row.values)}"] for row in ranking.rows]
    gains = _gains_over_baseline(ranking)
    if gains:
        columns.insert(2, f"gain over {ranking.baseline}")
        for cells in rows:
            gain = gains.get(cells[0])
            cells.insert(2, percent(gain.difference.mean) if gain else "")
    few = f"{counted_pairs(ranking.pairs, ranking)} cannot show a difference"
    words = (
        f"Mean differences of test accuracy in points. **{few}**: at least {ranking.needed_pairs} are needed. So there "
        "are no intervals and no tests."
    )
    return [Text(words), Table(columns, rows)]


def _what_would_decide(ranking: Ranking, results: Sequence[TrialResult], provenance: Provenance) -> list[Block]:
    """Return the searches or seeds that would decide the undecided comparisons."""
    undecided = [row for row in ranking.rows if row.relation == "undecided"]
    if not undecided:
        return []
    best, unit = ranking.rows[0], "searches" if ranking.is_by_search else "final_seeds"
    needed = {row.scheduler: _pairs_to_decide(row, best, ranking.delta) for row in undecided}
    times = {
        row.scheduler: _machine_seconds([best, row], results, count, by_search=ranking.is_by_search)
        for row in undecided
        if (count := needed[row.scheduler]) is not None
    }
    rows = [
        [
            row.scheduler,
            percent(row.gap_to_best.difference.mean),
            f"{needed[row.scheduler] or _no_number(row)}",
            duration(times[row.scheduler]) if row.scheduler in times else "",
        ]
        for row in undecided
    ]
    columns = ["undecided", f"gap to {best.scheduler}", f"`{unit}` that would decide", "machine time"]
    unit_words = "searches" if ranking.is_by_search else "final seeds"
    words = (
        f"The undecided comparisons: so many {unit_words} in all show a "
        f"difference, or equality, with a probability of {100 * POWER:.0f} %, if the difference and the scatter are "
        "those observed here. The machine time of the additional runs is for one run at once. Choose the number before "
        f"you look at the new results: who adds {unit_words} until a claim appears makes false claims more often."
    )
    blocks: list[Block] = [Text(words), Table(columns, rows)]
    if provenance.starts and times:
        names = sorted(times, key=lambda name: times[name])[:MAX_COMMANDS]
        command = provenance.starts[-1].command
        if "startup_trials" not in provenance.settings:
            command += f" {_settings_of_0_1(ranking)}"
        lines = [_command(command, [best.scheduler, name], f"{unit}={needed[name]}") for name in names]
        blocks += [Text(f"The commands for {listed(names)}:"), Commands(lines)]
    return blocks


def _pairs_to_decide(row: Row, best: Row, delta: float) -> int | None:
    """Return the searches or seeds that would decide, at least as many as one of the two has."""
    count = pairs_to_decide(row.gap_to_best, delta)
    return None if count is None else max(count, len(row.values), len(best.values))


def _no_number(row: Row) -> str:
    """Return why no number of searches or seeds is known to decide."""
    return "unknown" if row.gap_to_best.pairs < 2 else f"more than {MAX_PAIRS}"


def _machine_seconds(rows: Sequence[Row], results: Sequence[TrialResult], count: int, *, by_search: bool) -> float:
    """Return the seconds of the runs that the schedulers lack for `count` searches or seeds."""
    total = 0.0
    for row in rows:
        runs = [run for run in results if run.spec.scheduler.name == row.scheduler]
        seconds = sum(run.train_seconds + run.eval_seconds for run in runs if by_search or run.spec.phase == "final")
        total += seconds / len(row.values) * (count - len(row.values))
    return total


def _settings_of_0_1(ranking: Ranking) -> str:
    """Return the overrides that continue a folder of lrbench 0.1, which had other defaults."""
    trials = 1 + max(run.spec.trial_number for row in ranking.rows for one in row.outcomes for run in one.search)
    tests_default = any(row.tuning.test for row in ranking.rows)
    return f"searches=1 startup_trials=1 confirm=0 n_trials={trials} final_default={str(tests_default).lower()}"


def _command(command: str, schedulers: Sequence[str], override: str) -> str:
    """Return the command of a sweep with other schedulers and another override."""
    words = [*shlex.split(command), f"schedulers=[{','.join(schedulers)}]", override]
    by_key = {word.partition("=")[0]: word for word in words}  # the last override of a key counts
    return shlex.join(word for key, word in by_key.items() if key not in ("minutes", "fresh"))
