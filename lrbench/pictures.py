"""Pictures of curves and results, as matplotlib figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrbench.results import Curve

if TYPE_CHECKING:
    from lrbench.stats import Interval  # with scipy, which takes as long to import as the curves to draw

STYLE: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.3,
    "svg.hashsalt": "lrbench",  # the same picture is the same file
}


def save(figure: Figure, path: Path) -> None:
    """Write a picture, PNG or SVG by the file's ending, without the date in it."""
    with mpl.rc_context(STYLE):
        figure.savefig(path, dpi=120, metadata={"Software": None} if path.suffix == ".png" else {"Date": None})


def save_both(figure: Figure, path: Path) -> None:
    """Write a picture as PNG and as SVG, beside each other; `path` has no ending."""
    save(figure, path.with_name(f"{path.name}.png"))
    figure.set_layout_engine("none")  # it is laid out: again would take as long as to draw
    save(figure, path.with_name(f"{path.name}.svg"))


def lr_curves(curves: Mapping[str, Curve]) -> Figure:
    """Return the rate by optimizer step, one small axis for each name, in columns of up to five."""
    with mpl.rc_context(STYLE):
        columns = min(len(curves), 5)
        rows = -(-len(curves) // columns)
        size = (2.2 * columns, 1.7 * rows) if len(curves) > 1 else (5, 3)
        figure = Figure(figsize=size)
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for axis, (name, curve) in zip(axes, curves.items(), strict=False):
            axis.plot(curve.steps, curve.values, color="tab:blue", linewidth=1.5)
            axis.fill_between(curve.steps, curve.values, color="tab:blue", alpha=0.12)
            axis.set_title(name, fontsize=min(9, 240 / len(name)))  # as wide as the axis at most
            axis.set_ylim(bottom=0)
        for axis in axes[len(curves) :]:
            axis.set_visible(False)
        figure.supxlabel("optimizer step", fontsize=9)
        figure.supylabel("learning rate", fontsize=9)
    return figure


def small_curve(factors: np.ndarray) -> Figure:
    """Return factors of the peak rate by the progress of the run, without labels: for a page that has many."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.4, 1.5))
        axis = figure.subplots()
        axis.plot(np.linspace(0, 1, len(factors)), factors, color="tab:blue", linewidth=1.5)
        axis.set(xlim=(0, 1), ylim=(0, 1.06), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    return figure


def lr_overlay(curves: Mapping[str, Curve]) -> Figure:
    """Return the rates as fractions of their peaks by optimizer step, all in one axis."""
    with mpl.rc_context(STYLE):
        columns = -(-len(curves) // 25)  # of the legend
        figure = Figure(figsize=(7 + 2.8 * columns, max(4.0, 0.3 + 0.19 * -(-len(curves) // columns))))
        axis = figure.subplots()
        for number, (name, curve) in enumerate(curves.items()):
            fractions = np.array(curve.values) / (max(curve.values) or 1.0)
            axis.plot(curve.steps, fractions, _dashes(number), linewidth=1.3, label=name)
        axis.set(xlabel="optimizer step", ylabel="learning rate, as a fraction of the peak")
        _legend_beside(axis, columns)
    return figure


def metric_curves(curves: Mapping[str, Sequence[Curve]], label: str) -> Figure:
    """Return a metric by optimizer step, a line for each name: the mean over its curves, and their range as a band.

    A metric of many points is averaged over neighbours, down to what an eye can follow.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 4))
        axis = figure.subplots()
        for number, (name, runs) in enumerate(curves.items()):
            steps, values = _averaged(runs[0].steps), [_averaged(run.values) for run in runs]
            marker = "o" if len(steps) < 5 else ""
            (line,) = axis.plot(steps, np.mean(values, 0), _dashes(number), marker=marker, markersize=3, linewidth=1.3, label=name)
            axis.fill_between(steps, np.min(values, 0), np.max(values, 0), color=line.get_color(), alpha=0.12, linewidth=0)
        axis.set(xlabel="optimizer step", ylabel=label)
        _legend_beside(axis)
    return figure


def intervals(points: Mapping[str, Sequence[float]], means: Mapping[str, "Interval"], label: str) -> Figure:
    """Return the values of each name as points, with their mean and its interval; the first name is on top."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.6 + 0.32 * len(points)))
        axis = figure.subplots()
        for row, (name, values) in enumerate(points.items()):
            mean = means[name]
            axis.plot(np.array(values) * 100, np.full(len(values), row), "o", color="tab:blue", alpha=0.45, markersize=4)
            error = [[100 * (mean.mean - mean.low)], [100 * (mean.high - mean.mean)]]
            axis.errorbar(100 * mean.mean, row, xerr=np.nan_to_num(error), fmt="|", color="black", capsize=3, markersize=10)
        axis.set_yticks(range(len(points)), list(points))
        axis.invert_yaxis()
        axis.set_xlabel(label)
    return figure


def _averaged(numbers: Sequence[float]) -> np.ndarray:
    return np.array([part.mean() for part in np.array_split(np.asarray(numbers, dtype=float), min(len(numbers), 25))])


def _dashes(number: int) -> str:
    return ("-", "--", ":", "-.")[number // 10 % 4]


def _legend_beside(axis: Axes, columns: int = 1) -> None:
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, ncols=columns)
