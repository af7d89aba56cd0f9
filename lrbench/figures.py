"""The pictures of a report, drawn from the numbers of a comparison."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lrbench import pictures, search
from lrbench.blocks import listed
from lrbench.comparison import Ranking, Row, Value
from lrbench.pictures import Captioned, Tried
from lrbench.results import Curve
from lrbench.search import MIN_TRIALS, Space
from lrbench.stats import MIN_PAIRS, MIN_RANKED

PEAK = "optimizer.lr"
RING = "Late trials are darker; the ring is the chosen one"


def draw(ranking: Ranking, settings: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Draw the pictures of a report into `folder`; return by file what each shows, or why there is none.

    `settings` are those of the sweep's config.yaml, which has the search spaces.
    """
    spaces = {row.scheduler: _space(settings, row.scheduler) for row in ranking.rows if "scheduler" in settings}
    drawings: dict[str, Callable[[], Captioned | str]] = {
        "final.png": lambda: _final(ranking),
        "ranks.png": lambda: _ranks(ranking),
        "lr.png": lambda: _rates(ranking),
        "accuracy.png": lambda: _metric(ranking, "val/accuracy", "validation accuracy, %", 100),
        "loss.png": lambda: _metric(ranking, "train/loss", "training loss", 1),
        "peak.png": lambda: _peak(ranking),
        "slices.png": lambda: _slices(ranking, spaces),
        "history.png": lambda: _history(ranking),
        "importances.png": lambda: _importances(ranking, spaces),
    }
    folder.mkdir(exist_ok=True)
    said = {}
    for file, drawing in drawings.items():
        drawn = drawing()
        if isinstance(drawn, str):
            (folder / file).unlink(missing_ok=True)  # of an earlier report
            said[file] = drawn
        else:
            pictures.save(drawn.figure, folder / file)
            said[file] = drawn.caption
    return said


def _final(ranking: Ranking) -> Captioned:
    rows = ranking.rows
    tied = {row.scheduler for row in rows if row.tied}
    points = {row.scheduler: [run.last("test/accuracy") for run in row.runs if run.state == "finished"] for row in rows}
    failed = {row.scheduler: row.diverged for row in rows}
    figure = pictures.intervals(points, {row.scheduler: row.mean for row in rows}, "test accuracy, %", tied, failed)
    caption = "The final runs, a point each, and under them their mean and its 95 % interval."
    if len(tied) < len(points):
        caption += " In blue: the best, and what ties with it."
    if any(failed.values()):
        caption += " A triangle at the edge: runs that diverged."
    return Captioned(figure, caption)


def _ranks(ranking: Ranking) -> Captioned | str:
    test = ranking.ranked
    if test is None:
        here = f"here are {len(ranking.rows)} and {ranking.pairs}"
        return f"No critical-difference diagram: {MIN_RANKED} schedulers and {MIN_PAIRS} seeds that all share are the least; {here}."
    order = sorted(range(len(ranking.rows)), key=lambda place: test.ranks[place])
    ranks = {ranking.rows[place].scheduler: float(test.ranks[place]) for place in order}
    p = "< 0.001" if test.p < 0.001 else f"= {test.p:.3f}"
    caption = (
        f"Mean ranks over the seeds, 1 the best. Friedman's test that all are alike has p {p}; Nemenyi's after it does not tell apart what "
        "a bar joins. It looks at the order alone, and so sees less than the differences do."
    )
    return Captioned(pictures.critical_differences(ranks, test.groups, test.critical_difference), caption)


def _rates(ranking: Ranking) -> Captioned:
    curves = {row.scheduler: row.runs[0].curves["lr"] for row in ranking.rows}
    return Captioned(pictures.lr_curves(curves), "The learning rates of the chosen configurations, as the final runs used them.")


def _metric(ranking: Ranking, metric: str, label: str, factor: float) -> Captioned | str:
    curves = {
        row.scheduler: [_scaled(run.curves[metric], factor) for run in row.runs if run.state == "finished" and metric in run.curves]
        for row in ranking.rows
    }
    known = {scheduler: runs for scheduler, runs in curves.items() if runs}
    what = label.partition(",")[0]
    if not known:
        return f"No picture of the {what}: the final runs hold no images out."
    return Captioned(
        pictures.metric_curves(known, label), f"The {what} in the final runs: the mean, and the range over the seeds as a band."
    )


def _peak(ranking: Ranking) -> Captioned | str:
    searches = {row.scheduler: _tried(row, [trial.lr for trial in row.search.tried], log=True) for row in ranking.rows}
    caption = f"How sensitive each scheduler is to its peak rate: validation accuracy of the trials of its search. {RING}."
    return Captioned(pictures.accuracy_by_value(searches, "peak learning rate", shared=True), caption)


def _slices(ranking: Ranking, spaces: Mapping[str, Space]) -> Captioned | str:
    searches = {}
    for row in ranking.rows:
        for key in dict.fromkeys(key for trial in row.search.tried for key in trial.sampled if key != PEAK):
            log = search.is_log(spaces[row.scheduler][key]) if row.scheduler in spaces else False
            searches[f"{row.scheduler}\n{_short(key)}"] = _tried(row, [trial.sampled.get(key) for trial in row.search.tried], log=log)
    if not searches:
        return "No slices: the schedulers have no searched hyperparameters of their own."
    return Captioned(pictures.accuracy_by_value(searches, "value"), f"The same by the schedulers' own hyperparameters. {RING}.")


def _history(ranking: Ranking) -> Captioned:
    searches = {row.scheduler: _tried(row, [trial.number for trial in row.search.tried]) for row in ranking.rows}
    return Captioned(pictures.histories(searches), "The search as it went: its trials, the best so far, and the chosen one with a ring.")


def _importances(ranking: Ranking, spaces: Mapping[str, Space]) -> Captioned | str:
    tried = {row.scheduler: [(trial.sampled, trial.score) for trial in row.search.tried] for row in ranking.rows}
    found = {name: search.importances(space, tried[name]) for name, space in spaces.items()}
    shares = {name: {_short(key): share for key, share in importances.items()} for name, importances in found.items() if importances}
    if not shares:
        return (
            f"No importances of hyperparameters: {MIN_TRIALS} trials of a scheduler, not all with the same accuracy, are the least to tell."
        )
    without = [name for name in tried if name not in shares]
    caption = "Which hyperparameters mattered for reaching the best tenth of the trials, in % (PED-ANOVA)."
    return Captioned(pictures.importances(shares), f"{caption} Not known for {listed(without)}." if without else caption)


def _tried(row: Row, values: Sequence[Value | None], *, log: bool = False) -> Tried:
    """Return the trials of a row by values of theirs; those that have none are left out."""
    pairs = [(trial, value) for trial, value in zip(row.search.tried, values, strict=True) if value is not None]
    chosen = next((place for place, (trial, _) in enumerate(pairs) if trial.number == row.trial), None)
    return Tried([value for _, value in pairs], [trial.score for trial, _ in pairs], chosen, log)


def _scaled(curve: Curve, factor: float) -> Curve:
    return curve.model_copy(update={"values": [factor * value for value in curve.values]})


def _space(settings: Mapping[str, Any], scheduler: str) -> Space:
    return search.space(OmegaConf.create({**settings, "scheduler": settings["scheduler"][scheduler]}))


def _short(key: str) -> str:
    """Return the last part of a config key.

    >>> _short("scheduler.knobs.warmup")
    'warmup'
    """
    return key.removeprefix("scheduler.").removeprefix("knobs.").removeprefix("args.").removeprefix("optimizer.")
