"""The figures of a report and their captions."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lrbench.analysis.ranking import Ranking
from lrbench.analysis.row import Relation, Row
from lrbench.analysis.statistics import MIN_PAIRS, MIN_RANKED
from lrbench.reporting import plots
from lrbench.reporting.document import Block, Picture, Text, p_text
from lrbench.reporting.plots import CaptionedFigure, TrialSeries
from lrbench.reporting.sections import best_of_numbers
from lrbench.reporting.spaces import short_key
from lrbench.results.result import Curve
from lrbench.search.importance import MIN_TRIALS, importances
from lrbench.search.space import Space, is_log
from lrbench.spec import PEAK_RATE, Value
from lrbench.text import listed, percent

MARKS = "Later trials are darker. A ring is the choice of a search."
COLORS: Mapping[Relation, str] = {
    "best": plots.BLUE,
    "equal": plots.BLUE,
    "better": plots.ORANGE,
    "undecided": plots.ORANGE,
    "worse": plots.GREY,
}


def draw_figures(ranking: Ranking, spaces: Mapping[str, Space], folder: Path) -> dict[str, Block]:
    """Draw the figures of a report into `folder`, and return a block for each file.

    The block is the picture with its caption, or a text with the reason why it is missing.
    """
    figures: dict[str, Callable[[], CaptionedFigure | Text]] = {
        "final.png": lambda: _final(ranking),
        "ranks.png": lambda: _ranks(ranking),
        "lr.png": lambda: _rates(ranking),
        "accuracy.png": lambda: _metric(ranking, "val/accuracy", "validation accuracy, %", 100),
        "loss.png": lambda: _metric(ranking, "train/loss", "training loss", 1),
        "best_of.png": lambda: _best_of(ranking),
        "peak.png": lambda: _peak(ranking),
        "slices.png": lambda: _slices(ranking, spaces),
        "history.png": lambda: _history(ranking),
        "importances.png": lambda: _importances(ranking, spaces),
    }
    folder.mkdir(exist_ok=True)
    return {file: _written(draw(), folder / file) for file, draw in figures.items()}


def _written(figure: CaptionedFigure | Text, path: Path) -> Block:
    """Write a figure, and return its block."""
    if isinstance(figure, Text):
        path.unlink(missing_ok=True)  # from an earlier report
        return figure
    plots.save_figure(figure.figure, path)
    return Picture(path.name, figure.caption)


def _final(ranking: Ranking) -> CaptionedFigure:
    rows = ranking.rows
    points = {row.scheduler: [run.last("test/accuracy") for run in row.runs if run.state == "finished"] for row in rows}
    diverged = {row.scheduler: row.diverged for row in rows}
    colors = {row.scheduler: COLORS[row.relation] for row in rows}
    marks = {row.scheduler: _neighbours(row) for row in rows}
    means = {row.scheduler: row.mean for row in rows}
    figure = plots.intervals(points, means, "test accuracy, %", colors, diverged, marks)
    caption = "Each point is a final run. The mean and its 95 % interval are below the points."
    if len(rows) > 1:
        caption += f" {_meaning_of_colors(ranking)}"
    if any(marks.values()):
        caption += " Triangles show the accuracy at half (◁) and at twice (▷) the peak rate."
    if any(diverged.values()):
        caption += " A triangle at the edge marks diverged runs."
    return CaptionedFigure(figure, caption)


def _meaning_of_colors(ranking: Ranking) -> str:
    """Return the meaning of the colors that the picture has."""
    relations = {row.relation for row in ranking.rows}
    equal = f" and those equal to it within {percent(ranking.delta)} points" if "equal" in relations else ""
    meanings = {"undecided": "Orange: undecided.", "worse": "Grey: significantly worse."}
    others = [meaning for relation, meaning in meanings.items() if relation in relations]
    return " ".join([f"Blue: the best scheduler{equal}.", *others])


def _neighbours(row: Row) -> dict[str, float]:
    """Return the accuracies at half and at twice the peak rate by their markers."""
    changes = {"<": row.robustness.half, ">": row.robustness.double}
    return {mark: row.mean.mean + change for mark, change in changes.items() if change is not None}


def _ranks(ranking: Ranking) -> CaptionedFigure | Text:
    test = ranking.rank_test
    if test is None:
        needed = f"at least {MIN_RANKED} schedulers and {MIN_PAIRS} shared searches or seeds"
        return Text(
            f"No critical-difference diagram: the diagram needs {needed} (here {len(ranking.rows)} and "
            f"{ranking.shared_by_all})."
        )
    order = sorted(range(len(ranking.rows)), key=lambda place: test.ranks[place])
    ranks = {ranking.rows[place].scheduler: float(test.ranks[place]) for place in order}
    pairs = "searches" if ranking.is_by_search else "seeds"
    caption = (
        f"Mean ranks over the {pairs}, 1 is the best. Friedman's test of equal ranks: p {p_text(test.p)}. A bar joins "
        "schedulers that do not differ significantly by Nemenyi's test. These tests use only the order, so they "
        "detect fewer differences than the paired tests."
    )
    return CaptionedFigure(plots.critical_differences(ranks, test.groups, test.critical_difference), caption)


def _rates(ranking: Ranking) -> CaptionedFigure:
    curves = {row.scheduler: row.recommended.finals[0].curves["lr"] for row in ranking.rows}
    caption = "The learning rates of the recommended configurations in the final runs."
    return CaptionedFigure(plots.lr_curves(curves), caption)


def _metric(ranking: Ranking, metric: str, label: str, factor: float) -> CaptionedFigure | Text:
    curves = {}
    for row in ranking.rows:
        runs = [run for run in row.runs if run.state == "finished" and metric in run.curves]
        if runs:
            curves[row.scheduler] = [_scaled(run.curves[metric], factor) for run in runs]
    name = label.partition(",")[0]
    if not curves:
        return Text(f"No figure of the {name}: no finished final run has this metric.")
    caption = f"The {name} in the final runs: the mean over the runs, and a band for their range."
    return CaptionedFigure(plots.metric_curves(curves, label), caption)


def _best_of(ranking: Ranking) -> CaptionedFigure | Text:
    most = max(best_of_numbers(ranking))
    numbers = list(range(1, most + 1))
    curves = {row.scheduler: [best for best in row.best_of(numbers) if best] for row in ranking.rows}
    curves = {name: bests for name, bests in curves.items() if bests}
    if most < 2 or not curves:
        return Text("No figure of the number of trials: it needs at least two trials of a scheduler.")
    caption = "Expected validation accuracy of the best of k trials, with the band of such searches."
    return CaptionedFigure(plots.best_of(curves), caption)


def _peak(ranking: Ranking) -> CaptionedFigure:
    searches = {
        row.scheduler: _series(row, [trial.lr for trial in row.search.scored], log=True) for row in ranking.rows
    }
    caption = f"Sensitivity to the peak learning rate: validation accuracy of the trials of each search. {MARKS}"
    return CaptionedFigure(plots.accuracy_by_value(searches, "peak learning rate", shared=True), caption)


def _slices(ranking: Ranking, spaces: Mapping[str, Space]) -> CaptionedFigure | Text:
    searches = {}
    for row in ranking.rows:
        for key in dict.fromkeys(key for trial in row.search.scored for key in trial.sampled if key != PEAK_RATE):
            log = row.scheduler in spaces and is_log(spaces[row.scheduler][key])
            values = [trial.sampled.get(key) for trial in row.search.scored]
            searches[f"{row.scheduler}\n{short_key(key)}"] = _series(row, values, log=log)
    if not searches:
        return Text("No slices: the search varied only the peak learning rate.")
    caption = f"Sensitivity to the other hyperparameters of each scheduler. {MARKS}"
    return CaptionedFigure(plots.accuracy_by_value(searches, "value"), caption)


def _history(ranking: Ranking) -> CaptionedFigure:
    searches = {
        row.scheduler: [
            _series(row, [trial.number if trial.search == search else None for trial in row.search.scored])
            for search in dict.fromkeys(trial.search for trial in row.search.scored)
        ]
        for row in ranking.rows
    }
    caption = (
        "Progress of the searches. Each point is a trial, a line is the best trial so far in a search, and a ring is "
        "its choice."
    )
    return CaptionedFigure(plots.histories(searches), caption)


def _importances(ranking: Ranking, spaces: Mapping[str, Space]) -> CaptionedFigure | Text:
    shares = {}
    for row in ranking.rows:
        trials = [(trial.sampled, trial.score) for trial in row.search.scored]
        by_key = importances(spaces[row.scheduler], trials) if row.scheduler in spaces else {}
        if by_key:
            shares[row.scheduler] = {short_key(key): share for key, share in by_key.items()}
    if not shares:
        needed = f"at least {MIN_TRIALS} trials per scheduler with different scores"
        return Text(f"No hyperparameter importance: it needs {needed}.")
    caption = "Importance of each hyperparameter for reaching the best tenth of the trials, in % (PED-ANOVA)."
    missing = [row.scheduler for row in ranking.rows if row.scheduler not in shares]
    if missing:
        caption += f" Not available for {listed(missing)}."
    return CaptionedFigure(plots.importance_bars(shares), caption)


def _series(row: Row, values: Sequence[Value | None], *, log: bool = False) -> TrialSeries:
    """Return the scored trials of a row that have a value."""
    pairs = [(trial, value) for trial, value in zip(row.search.scored, values, strict=True) if value is not None]
    choices = {(outcome.number, outcome.choice.trial) for outcome in row.outcomes if outcome.choice}
    chosen = [place for place, (trial, _) in enumerate(pairs) if (trial.search, trial.number) in choices]
    numbers = [trial.number for trial, _ in pairs]
    return TrialSeries([value for _, value in pairs], [trial.score for trial, _ in pairs], chosen, numbers, log)


def _scaled(curve: Curve, factor: float) -> Curve:
    return curve.model_copy(update={"values": [factor * value for value in curve.values]})
