"""Curves and results as matplotlib figures. The only module that knows matplotlib."""

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from lrbench.analysis.best_of_k import BestOf
from lrbench.analysis.statistics import Interval
from lrbench.results.files import write_bytes
from lrbench.results.result import Curve
from lrbench.spec import Value

BLUE, ORANGE, GREY = "tab:blue", "#d95f02", "0.45"
LATER_IS_DARKER = LinearSegmentedColormap.from_list("later is darker", ["white", "#1f77b4", "#0b2a4a"])
DPI, DISPLAY_DPI = 160, 108  # of a PNG file, and of its display in a page
ROUND = (1, 2, 5, 10)  # distances between the numbers at an axis
MAX_OVERLAID = 10  # lines that a reader can tell apart in one axis
STYLE: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.3,
    "svg.hashsalt": "lrbench",  # the same picture is the same file
}


class CaptionedFigure(NamedTuple):
    """A figure and its caption."""

    figure: Figure
    caption: str


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, by the ending of the file, without a date in it."""
    metadata = {"Software": None} if path.suffix == ".png" else {"Date": None}
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format=path.suffix[1:], dpi=DPI, metadata=metadata)
    write_bytes(path, buffer.getvalue())


def display_width(path: Path) -> int:
    """Return the width in pixels at which a PNG has text of the usual size."""
    pixels = int.from_bytes(path.read_bytes()[16:20], "big")  # https://www.w3.org/TR/png/#11IHDR
    return round(pixels / DPI * DISPLAY_DPI)


def save_both(figure: Figure, path: Path) -> None:
    """Write a figure as PNG and as SVG. `path` has no ending."""
    save_figure(figure, path.with_name(f"{path.name}.png"))
    figure.set_layout_engine("none")  # a second layout would take as long as the drawing
    save_figure(figure, path.with_name(f"{path.name}.svg"))


def lr_curves(curves: Mapping[str, Curve]) -> Figure:
    """Return the learning rate by optimizer step, in a small axis for each name."""
    with mpl.rc_context(STYLE):
        figure, axes = _small_axes(list(curves), own_y=True)
        for axis, curve in zip(axes, curves.values(), strict=True):
            axis.plot(curve.steps, curve.values, color=BLUE, linewidth=1.5)
            axis.fill_between(curve.steps, curve.values, color=BLUE, alpha=0.12, linewidth=0)
            axis.set_ylim(bottom=0)
            axis.xaxis.set_major_locator(MaxNLocator(3, steps=ROUND, integer=True))
            axis.yaxis.set_major_locator(MaxNLocator(4, steps=ROUND))
        _label(figure, "optimizer step", "learning rate")
    return figure


def small_curve(factors: np.ndarray) -> Figure:
    """Return factors of the peak rate by the progress of the run, without labels."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.4, 1.5))
        axis = figure.subplots()
        axis.plot(np.linspace(0, 1, len(factors)), factors, color="tab:blue", linewidth=1.5)
        axis.set(xlim=(0, 1), ylim=(0, 1.06), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    return figure


def lr_overlay(curves: Mapping[str, Curve]) -> Figure:
    """Return the rates as fractions of their peaks by optimizer step, in one axis."""
    with mpl.rc_context(STYLE):
        columns = math.ceil(len(curves) / 25)  # of the legend
        figure = Figure(figsize=(7 + 2.8 * columns, max(4.0, 0.3 + 0.19 * math.ceil(len(curves) / columns))))
        axis = figure.subplots()
        for number, (name, curve) in enumerate(curves.items()):
            fractions = np.array(curve.values) / (max(curve.values) or 1.0)
            axis.plot(curve.steps, fractions, _dashes(number), linewidth=1.3, label=name)
        axis.set(xlabel="optimizer step", ylabel="learning rate, as a fraction of the peak")
        _legend_beside(axis, columns)
    return figure


def metric_curves(curves: Mapping[str, Sequence[Curve]], label: str) -> Figure:
    """Return the mean of a metric by optimizer step for each name, in a band for its range.

    Up to MAX_OVERLAID names share an axis. More names get small axes, with the others in grey.
    Curves with many points are averaged over neighbouring points.
    """
    lines = {name: ([_averaged(run.values) for run in runs], _averaged(runs[0].steps)) for name, runs in curves.items()}
    if len(curves) > MAX_OVERLAID:
        return _metric_grid(lines, label)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 4))
        axis = figure.subplots()
        for name, (values, steps) in lines.items():
            marker = "o" if len(steps) < 5 else ""
            (line,) = axis.plot(steps, np.mean(values, 0), marker=marker, markersize=3, linewidth=1.4, label=name)
            low, high = np.min(values, 0), np.max(values, 0)
            axis.fill_between(steps, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
        axis.set(xlabel="optimizer step", ylabel=label)
        _legend_beside(axis)
    return figure


def _metric_grid(lines: Mapping[str, tuple[list[np.ndarray], np.ndarray]], label: str) -> Figure:
    means = [np.column_stack([steps, np.mean(values, 0)]) for values, steps in lines.values()]
    ends = np.concatenate([np.ravel(values) for values, _ in lines.values()])
    with mpl.rc_context(STYLE):
        figure, axes = _small_axes(list(lines))
        for axis, (values, steps) in zip(axes, lines.values(), strict=True):
            axis.add_collection(LineCollection(means, colors="0.85", linewidths=0.5))
            axis.fill_between(steps, np.min(values, 0), np.max(values, 0), color=BLUE, alpha=0.3, linewidth=0)
            axis.plot(steps, np.mean(values, 0), color=BLUE, linewidth=1.4)
            axis.set_ylim(*_with_margin(ends.min(), ends.max()))
            axis.xaxis.set_major_locator(MaxNLocator(3, steps=ROUND, integer=True))
        _label(figure, "optimizer step", label)
    return figure


def intervals(
    points: Mapping[str, Sequence[float]],
    means: Mapping[str, Interval],
    label: str,
    colors: Mapping[str, str],
    failures: Mapping[str, int],
    marks: Mapping[str, Mapping[str, float]],
) -> Figure:
    """Return the values of each name as points, above their mean and its interval.

    The first name is on top. `failures` counts further values that are far below: they are
    triangles at the left edge, and intervals that they stretch are cut. `marks` are further values
    by their marker, below the interval. Those that are far below stand at the edge.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.7 + 0.32 * len(points)))
        axis = figure.subplots()
        for row, (name, values) in enumerate(points.items()):
            _interval_row(axis, row, values, means[name], colors[name])
        ends = [end for name, mean in means.items() if not failures.get(name) for end in mean if np.isfinite(end)]
        _limit_to_values(axis, [100 * value for value in (*itertools.chain(*points.values()), *ends)])
        for row, name in enumerate(points):
            if failures.get(name):
                axis.plot(axis.get_xlim()[0], row - 0.22, "<", color=ORANGE, clip_on=False, markersize=7)
            for marker, value in marks[name].items():
                place = max(100 * value, axis.get_xlim()[0])
                axis.plot(place, row + 0.22, marker, color="0.2", fillstyle="none", markersize=4.5, clip_on=False)
        axis.set_yticks(range(len(points)), list(points))
        axis.set_ylim(len(points) - 0.5, -0.7)
        axis.set_xlabel(label)
        axis.grid(visible=False, axis="y")
    return figure


def _interval_row(axis: Axes, row: int, values: Sequence[float], mean: Interval, color: str) -> None:
    heights = np.full(len(values), row - 0.22)
    axis.plot(100 * np.array(values), heights, "o", color=color, alpha=0.5, markersize=4.5, markeredgewidth=0)
    error = np.nan_to_num([[100 * (mean.mean - mean.low)], [100 * (mean.high - mean.mean)]])
    axis.errorbar(100 * mean.mean, row, xerr=error, fmt="o", color=color, capsize=3, markersize=5)


def _limit_to_values(axis: Axes, values: Sequence[float]) -> None:
    low, high = min(values, default=0), max(values, default=1)
    margin = 0.05 * max(high - low, 0.1)
    axis.set_xlim(low - margin, high + margin)


def critical_differences(
    ranks: Mapping[str, float], groups: Sequence[tuple[int, int]], critical_difference: float
) -> Figure:
    """Return a critical-difference diagram: mean ranks on a line, 1 is the best (Demsar 2006).

    A bar joins ranks that do not differ significantly. `ranks` are sorted, and `groups` are the
    places of the first and the last rank of each bar.
    """
    values = list(ranks.values())
    names_on_left = math.ceil(len(ranks) / 2)  # the others are on the right
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 1.2 + 0.13 * len(groups) + 0.24 * names_on_left))
        axis = figure.subplots()
        axis.axis("off")
        _rank_line(axis, len(ranks), critical_difference)
        _rank_names(axis, ranks, names_on_left, 0.7 + 0.45 * len(groups))
        for bar, (first, last) in enumerate(groups):
            low, high = values[first] - 0.04, values[last] + 0.04
            axis.hlines(0.4 + 0.45 * bar, low, high, color=BLUE, linewidth=3.5, zorder=3)
        axis.invert_yaxis()
    return figure


def _rank_line(axis: Axes, last: int, critical_difference: float) -> None:
    """Draw a line of the ranks 1 to `last`, and the critical difference above it."""
    axis.hlines(0, 1, last, color="black", linewidth=1)
    for tick in range(1, last + 1, max(1, last // 15)):
        axis.vlines(tick, 0, -0.12, color="black", linewidth=1)
        axis.text(tick, -0.25, f"{tick}", ha="center", va="bottom")
    end, text = 1 + critical_difference, f"critical difference {critical_difference:.2f}"
    axis.plot([1, end], [-1.25, -1.25], "|-", color=ORANGE, linewidth=1.5, markersize=7)
    axis.text((1 + end) / 2, -1.4, text, ha="center", va="bottom", color=ORANGE)


def _rank_names(axis: Axes, ranks: Mapping[str, float], names_on_left: int, top: float) -> None:
    """Draw the names below the line, each joined to its rank. The first is at the height `top`."""
    for place, (name, rank) in enumerate(ranks.items()):
        if place < names_on_left:
            row, edge, align, text = place, 0.6, "right", f"{name}  {rank:.2f} "
        else:
            row, edge, align, text = len(ranks) - 1 - place, 0.4 + len(ranks), "left", f" {rank:.2f}  {name}"
        height = top + 0.85 * row
        axis.plot([rank, rank, edge], [0, height, height], color="0.55", linewidth=0.8)
        axis.text(edge, height, text, ha=align, va="center")


class TrialSeries(NamedTuple):
    """The trials of a search: one value and the accuracy of each.

    `chosen` are the places of the chosen trials. `numbers` are the trials' numbers in their search.
    """

    values: Sequence[Value]
    accuracies: Sequence[float]
    chosen: Sequence[int]
    numbers: Sequence[int]
    log: bool = False


def accuracy_by_value(searches: Mapping[str, TrialSeries], xlabel: str, *, shared: bool = False) -> Figure:
    """Return the accuracies of trials by one of their values, in a small axis for each search.

    Later trials are darker, and the chosen one has a ring. A trial far below the others is a
    triangle at the lower edge. `shared` means that all values have the same scale.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _small_axes(list(searches), own_x=not shared)
        bottom, top = _accuracy_limits([value for series in searches.values() for value in series.accuracies])
        all_values = [value for series in searches.values() for value in series.values]
        for axis, series in zip(axes, searches.values(), strict=True):
            _scatter(axis, series, bottom, top)
            if series.log:
                _log_axis(axis, all_values if shared else series.values)
            elif all(isinstance(value, int) for value in series.values):
                axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axis.set_ylim(bottom, top)
        _label(figure, xlabel, "validation accuracy, %")
    return figure


def _scatter(axis: Axes, series: TrialSeries, bottom: float, top: float) -> None:
    accuracies, order = 100 * np.array(series.accuracies), np.array(series.numbers)
    is_text = isinstance(series.values[0], str | bool)
    values: Any = np.array([str(value) for value in series.values] if is_text else series.values)
    last = order.max() + 1
    for marker, place in (("o", accuracies >= bottom), ("v", accuracies < bottom)):
        height = np.maximum(accuracies[place], bottom + 0.02 * (top - bottom))
        axis.scatter(
            values[place], height, c=order[place], cmap=LATER_IS_DARKER, vmin=-0.3 * last, vmax=last,
            s=12, marker=marker, linewidth=0,
        )  # fmt: skip
    _mark_chosen(axis, values, accuracies, series.chosen)


def histories(searches: Mapping[str, Sequence[TrialSeries]]) -> Figure:
    """Return the accuracies of trials by their numbers, and the best so far as a line per search.

    Each name has a small axis.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _small_axes(list(searches))
        every = [series for by_search in searches.values() for series in by_search]
        last = max(number for series in every for number in series.numbers)
        bottom, top = _accuracy_limits([value for series in every for value in series.accuracies])
        for axis, by_search in zip(axes, searches.values(), strict=True):
            for series in by_search:
                numbers, accuracies = np.array(series.numbers), 100 * np.array(series.accuracies)
                heights = np.maximum(accuracies, bottom)
                axis.plot(numbers, heights, "o", color=GREY, markersize=3, alpha=0.6, markeredgewidth=0)
                best = np.maximum.accumulate(accuracies)
                axis.step(numbers, best, where="post", color=BLUE, linewidth=1.5 if len(by_search) == 1 else 0.9)
                _mark_chosen(axis, numbers, accuracies, series.chosen)
            axis.set(xlim=_with_margin(0, last), ylim=(bottom, top))
            axis.xaxis.set_major_locator(MaxNLocator(4, steps=ROUND, integer=True))
        _label(figure, "trial", "validation accuracy, %")
    return figure


def best_of(curves: Mapping[str, Sequence[BestOf]]) -> Figure:
    """Return the expected best accuracy by the number of trials, in a small axis for each name.

    A band shows the quantiles. The other names are in grey.
    """
    lines = [np.array([(best.trials, 100 * best.mean) for best in bests]) for bests in curves.values()]
    lows = [100 * best.low for bests in curves.values() for best in bests]
    bottom = max(min(lows), float(np.median(lows)) - 10)  # a failed default must not compress the others
    with mpl.rc_context(STYLE):
        figure, axes = _small_axes(list(curves))
        for axis, line, bests in zip(axes, lines, curves.values(), strict=True):
            axis.add_collection(LineCollection(lines, colors="0.85", linewidths=0.5))
            low, high = (100 * np.array([getattr(best, end) for best in bests]) for end in ("low", "high"))
            axis.fill_between(line[:, 0], low, high, color=BLUE, alpha=0.2, linewidth=0)
            axis.plot(line[:, 0], line[:, 1], color=BLUE, linewidth=1.4)
            axis.set_xlim(*_with_margin(1, max(len(bests) for bests in curves.values())))
            axis.set_ylim(*_with_margin(bottom, max(100 * best.high for bests in curves.values() for best in bests)))
            axis.xaxis.set_major_locator(MaxNLocator(4, steps=ROUND, integer=True))
        _label(figure, "trials of a search", "validation accuracy, %")
    return figure


def importance_bars(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """Return the importance of each hyperparameter as bars, by search.

    The shares of a search sum to 1.
    """
    bars = [(name, key, share) for name, keys in shares.items() for key, share in keys.items()]
    gaps = np.cumsum([0, *(0.6 if before[0] != after[0] else 0 for before, after in itertools.pairwise(bars))])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.7 + 0.2 * (len(bars) + float(gaps[-1]))))
        axis = figure.subplots()
        rows = np.arange(len(bars)) + gaps
        axis.barh(rows, [100 * share for _, _, share in bars], color=BLUE, alpha=0.8, height=0.75)
        axis.set_yticks(rows, [f"{name}: {key}" for name, key, _ in bars])
        axis.set_ylim(rows[-1] + 0.7, -0.7)
        axis.set_xlabel("importance, %")
        axis.grid(visible=False, axis="y")
    return figure


def _small_axes(titles: Sequence[str], *, own_x: bool = False, own_y: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure with a small axis for each title, in up to five columns.

    `own_x` and `own_y` label each axis; without them, only the lowest and the leftmost are
    labelled. The layout is done by hand, because matplotlib's takes minutes for a hundred axes.
    """
    columns = min(len(titles), 5)
    rows = math.ceil(len(titles) / columns)
    lines = 1 + max(title.count("\n") for title in titles)
    above, beside = 0.12 + 0.15 * lines + (0.2 if own_x else 0), 0.45 if own_y else 0.18  # inches between them
    wide, high = (1.75, 1.3) if len(titles) > 1 else (4.2, 2.4)
    width, height = (wide + beside) * columns + 0.7, (high + above) * rows + 0.5
    with mpl.rc_context({"figure.constrained_layout.use": False}):
        figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        0.7 / width, 0.5 / height, 1 - 0.1 / width, 1 - (0.1 + 0.15 * lines) / height, beside / wide, above / high
    )
    axes = []
    for number, title in enumerate(titles):
        axis = figure.add_subplot(rows, columns, number + 1)
        axis.set_title(title, fontsize=min(9, 120 * wide / max(map(len, title.split("\n")))))
        lowest, leftmost = number + columns >= len(titles), number % columns == 0
        axis.tick_params(labelsize=7, labelbottom=own_x or lowest, labelleft=own_y or leftmost)
        axes.append(axis)
    return figure, axes


def _with_margin(low: float, high: float) -> tuple[float, float]:
    margin = 0.06 * max(high - low, 1e-3)
    return low - margin, high + margin


def _label(figure: Figure, xlabel: str, ylabel: str) -> None:
    """Label a figure of small axes as a whole."""
    width, height = figure.get_size_inches()
    figure.text(0.5 + 0.3 / width, 0.06 / height, xlabel, ha="center", va="bottom")
    figure.text(0.08 / width, 0.5, ylabel, ha="left", va="center", rotation=90)


def _accuracy_limits(accuracies: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis of accuracies in %, so that a few failures do not compress it."""
    values = 100 * np.array(accuracies)
    low, median, high = (float(np.quantile(values, q)) for q in (0.0, 0.5, 1.0))
    return _with_margin(max(low, median - 2 * max(high - median, 1.0)), high)


def _mark_chosen(axis: Axes, values: Any, accuracies: np.ndarray, chosen: Sequence[int]) -> None:
    """Draw a ring around each chosen trial."""
    for place in chosen:
        axis.plot(
            values[place], accuracies[place], "o", color=ORANGE, fillstyle="none", markersize=8, markeredgewidth=1.5
        )


def _log_axis(axis: Axes, values: Sequence[Any]) -> None:
    """Give a small axis a logarithmic scale over these values, with plain numbers."""
    low, high = _with_margin(*np.log10([min(values), max(values)]))
    axis.set(xscale="log", xlim=(10**low, 10**high))
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high - low < 2.4 else (1.0,), numticks=8))
    axis.xaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axis.xaxis.set_minor_locator(NullLocator())


def _averaged(numbers: Sequence[float]) -> np.ndarray:
    """Return at most 25 means of neighbouring numbers."""
    parts = np.array_split(np.asarray(numbers, dtype=float), min(len(numbers), 25))
    return np.array([part.mean() for part in parts])


def _dashes(number: int) -> str:
    """Return the line style of a curve: matplotlib's ten colours repeat after ten curves."""
    return ("-", "--", ":", "-.")[number // 10 % 4]


def _legend_beside(axis: Axes, columns: int = 1) -> None:
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, ncols=columns)
