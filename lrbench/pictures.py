"""Pictures of curves and results, as matplotlib figures."""

import io
import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from lrbench import results
from lrbench.results import Curve

if TYPE_CHECKING:
    from lrbench.stats import Interval  # with scipy, which takes as long to import as the curves to draw

BLUE, ORANGE, GREY = "tab:blue", "#d95f02", "0.45"
LATER_IS_DARKER = LinearSegmentedColormap.from_list("later is darker", ["white", "#1f77b4", "#0b2a4a"])
DPI, SHOWN_DPI = 160, 108  # of a PNG, and where it is looked at
ROUND = (1, 2, 5, 10)  # steps between the numbers at an axis
OVERLAID = 10  # lines that an eye tells apart in one axis
STYLE: Any = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.3,
    "svg.hashsalt": "lrbench",  # the same picture is the same file
}


class Captioned(NamedTuple):
    """A picture and what it shows, in a sentence or two."""

    figure: Figure
    caption: str


def save(figure: Figure, path: Path) -> None:
    """Write a picture, PNG or SVG by the file's ending, without the date in it."""
    metadata = {"Software": None} if path.suffix == ".png" else {"Date": None}
    drawn = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(drawn, format=path.suffix[1:], dpi=DPI, metadata=metadata)
    results.write_bytes(path, drawn.getvalue())


def width(path: Path) -> int:
    """Return how many pixels wide a PNG is to be shown, for text of the usual size."""
    pixels = int.from_bytes(path.read_bytes()[16:20], "big")  # https://www.w3.org/TR/png/#11IHDR
    return round(pixels / DPI * SHOWN_DPI)


def save_both(figure: Figure, path: Path) -> None:
    """Write a picture as PNG and as SVG, beside each other; `path` has no ending."""
    save(figure, path.with_name(f"{path.name}.png"))
    figure.set_layout_engine("none")  # it is laid out: again would take as long as to draw
    save(figure, path.with_name(f"{path.name}.svg"))


def lr_curves(curves: Mapping[str, Curve]) -> Figure:
    """Return the rate by optimizer step, one small axis for each name, in columns of up to five."""
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
    """Return a metric by optimizer step for each name: the mean over its curves, and their range as a band.

    All in one axis, or in small ones with the others in grey where those would be too many. A metric of many points is averaged over
    neighbours, down to what an eye can follow.
    """
    lines = {name: ([_averaged(run.values) for run in runs], _averaged(runs[0].steps)) for name, runs in curves.items()}
    if len(curves) > OVERLAID:
        return _metric_grid(lines, label)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 4))
        axis = figure.subplots()
        for name, (values, steps) in lines.items():
            marker = "o" if len(steps) < 5 else ""
            (line,) = axis.plot(steps, np.mean(values, 0), marker=marker, markersize=3, linewidth=1.4, label=name)
            axis.fill_between(steps, np.min(values, 0), np.max(values, 0), color=line.get_color(), alpha=0.12, linewidth=0)
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
    points: Mapping[str, Sequence[float]], means: Mapping[str, "Interval"], label: str, strong: Collection[str], failed: Mapping[str, int]
) -> Figure:
    """Return the values of each name as points, above their mean and its interval; the first name is on top, the strong ones in colour.

    `failed` says how many more values lie far below: they stand at the left edge, as triangles, and intervals that they stretch are cut.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.7 + 0.32 * len(points)))
        axis = figure.subplots()
        for row, (name, values) in enumerate(points.items()):
            mean, color = means[name], BLUE if name in strong else GREY
            axis.plot(
                100 * np.array(values), np.full(len(values), row - 0.22), "o", color=color, alpha=0.5, markersize=4.5, markeredgewidth=0
            )
            error = [[100 * (mean.mean - mean.low)], [100 * (mean.high - mean.mean)]]
            axis.errorbar(100 * mean.mean, row, xerr=np.nan_to_num(error), fmt="o", color=color, capsize=3, markersize=5)
        sound = [100 * value for values in points.values() for value in values]
        sound += [100 * end for name, mean in means.items() if not failed.get(name) for end in mean if np.isfinite(end)]
        margin = 0.05 * max(max(sound, default=1) - min(sound, default=0), 0.1)
        axis.set_xlim(min(sound, default=0) - margin, max(sound, default=1) + margin)
        for row, name in enumerate(points):
            if failed.get(name):
                axis.plot(axis.get_xlim()[0], row - 0.22, "<", color=ORANGE, clip_on=False, markersize=7)
        axis.set_yticks(range(len(points)), list(points))
        axis.set_ylim(len(points) - 0.5, -0.7)
        axis.set_xlabel(label)
        axis.grid(visible=False, axis="y")
    return figure


def critical_differences(ranks: Mapping[str, float], groups: Sequence[tuple[int, int]], critical_difference: float) -> Figure:
    """Return mean ranks on a line, 1 the best, with a bar over those that are not told apart (Demsar 2006).

    `ranks` are in their order, and groups the first and last of each bar, counted in it.
    """
    names, values, k = list(ranks), list(ranks.values()), len(ranks)
    left = -(-k // 2)  # so many names stand on the left, the others on the right
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 1.2 + 0.13 * len(groups) + 0.24 * left))
        axis = figure.subplots()
        axis.axis("off")
        axis.hlines(0, 1, k, color="black", linewidth=1)
        for tick in range(1, k + 1, max(1, k // 15)):
            axis.vlines(tick, 0, -0.12, color="black", linewidth=1)
            axis.text(tick, -0.25, f"{tick}", ha="center", va="bottom")
        axis.plot([1, 1 + critical_difference], [-1.25, -1.25], "|-", color=ORANGE, linewidth=1.5, markersize=7)
        axis.text(
            1 + critical_difference / 2, -1.4, f"critical difference {critical_difference:.2f}", ha="center", va="bottom", color=ORANGE
        )
        bars_height = 0.45 * len(groups)
        for place, (name, rank) in enumerate(zip(names, values, strict=True)):
            on_left = place < left
            height = bars_height + 0.7 + 0.85 * (place if on_left else k - 1 - place)
            edge = 0.6 if on_left else 0.4 + k
            axis.plot([rank, rank, edge], [0, height, height], color="0.55", linewidth=0.8)
            text = f"{name}  {rank:.2f} " if on_left else f" {rank:.2f}  {name}"
            axis.text(edge, height, text, ha="right" if on_left else "left", va="center")
        for bar, (first, last) in enumerate(groups):
            axis.hlines(0.4 + 0.45 * bar, values[first] - 0.04, values[last] + 0.04, color=BLUE, linewidth=3.5, zorder=3)
        axis.invert_yaxis()
    return figure


class Tried(NamedTuple):
    """The trials of a search: what each had, its accuracy, and the place of the chosen one, None where that had no such value."""

    values: Sequence[float | int | str | bool]
    accuracies: Sequence[float]
    chosen: int | None
    log: bool = False


def accuracy_by_value(searches: Mapping[str, Tried], xlabel: str, *, shared: bool = False) -> Figure:
    """Return the accuracies of trials by a value that they had, a small axis for each search; `shared` is for values of the same scale.

    Late trials are darker, the chosen one has a ring. What lies far below the others stands at the lower edge, as a triangle.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _small_axes(list(searches), own_x=not shared)
        bottom, top = _accuracy_limits([value for tried in searches.values() for value in tried.accuracies])
        everywhere = [value for tried in searches.values() for value in tried.values]
        for axis, tried in zip(axes, searches.values(), strict=True):
            accuracies = 100 * np.array(tried.accuracies)
            values: Any = np.array([str(value) for value in tried.values] if _is_text(tried.values[0]) else tried.values)
            order = np.arange(len(accuracies))
            for marker, there in (("o", accuracies >= bottom), ("v", accuracies < bottom)):
                height = np.maximum(accuracies[there], bottom + 0.02 * (top - bottom))
                axis.scatter(
                    values[there], height, c=order[there], cmap=LATER_IS_DARKER, vmin=-0.3 * len(order), vmax=len(order),
                    s=12, marker=marker, linewidth=0,
                )  # fmt: skip
            _ring(axis, values, accuracies, tried.chosen)
            if tried.log:
                _log_axis(axis, everywhere if shared else tried.values)
            elif all(isinstance(value, int) for value in tried.values):
                axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axis.set_ylim(bottom, top)
        _label(figure, xlabel, "validation accuracy, %")
    return figure


def histories(searches: Mapping[str, Tried]) -> Figure:
    """Return the accuracies of trials by their numbers, `Tried.values`, with the best so far as a line: a small axis for each search."""
    with mpl.rc_context(STYLE):
        figure, axes = _small_axes(list(searches))
        last = max(int(value) for tried in searches.values() for value in tried.values)
        bottom, top = _accuracy_limits([value for tried in searches.values() for value in tried.accuracies])
        for axis, tried in zip(axes, searches.values(), strict=True):
            numbers, accuracies = np.array(tried.values), 100 * np.array(tried.accuracies)
            axis.plot(numbers, np.maximum(accuracies, bottom), "o", color=GREY, markersize=3, alpha=0.6, markeredgewidth=0)
            axis.step(numbers, np.maximum.accumulate(accuracies), where="post", color=BLUE, linewidth=1.5)
            _ring(axis, numbers, accuracies, tried.chosen)
            axis.set(xlim=_with_margin(0, last), ylim=(bottom, top))
            axis.xaxis.set_major_locator(MaxNLocator(4, steps=ROUND, integer=True))
        _label(figure, "trial", "validation accuracy, %")
    return figure


def importances(shares: Mapping[str, Mapping[str, float]]) -> Figure:
    """Return how much each hyperparameter mattered, by the name of the search, as bars below each other; the shares of a search make 1."""
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
    """Return a figure with a small axis for each title, in columns of up to five; those without an own x or y have it labelled once.

    Laid out by hand, and with limits set by hand: matplotlib's layout and shared axes take minutes for a hundred of them.
    """
    columns = min(len(titles), 5)
    rows = -(-len(titles) // columns)
    lines = 1 + max(title.count("\n") for title in titles)
    above, beside = 0.12 + 0.15 * lines + (0.2 if own_x else 0), 0.45 if own_y else 0.18  # inches between them
    wide, high = (1.75, 1.3) if len(titles) > 1 else (4.2, 2.4)
    width, height = (wide + beside) * columns + 0.7, (high + above) * rows + 0.5
    with mpl.rc_context({"figure.constrained_layout.use": False}):
        figure = Figure(figsize=(width, height))
    figure.subplots_adjust(0.7 / width, 0.5 / height, 1 - 0.1 / width, 1 - (0.1 + 0.15 * lines) / height, beside / wide, above / high)
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
    """Return the ends of an axis of accuracies in %, where a few that failed do not squeeze the others together."""
    values = 100 * np.array(accuracies)
    low, median, high = (float(np.quantile(values, q)) for q in (0.0, 0.5, 1.0))
    return _with_margin(max(low, median - 2 * max(high - median, 1.0)), high)


def _ring(axis: Axes, values: Any, accuracies: np.ndarray, place: int | None) -> None:
    if place is not None:
        axis.plot(values[place], accuracies[place], "o", color=ORANGE, fillstyle="none", markersize=8, markeredgewidth=1.5)


def _log_axis(axis: Axes, values: Sequence[Any]) -> None:
    """Give a small axis a logarithmic scale over these values, with plain numbers at it."""
    low, high = _with_margin(*np.log10([min(values), max(values)]))
    axis.set(xscale="log", xlim=(10**low, 10**high))
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high - low < 2.4 else (1.0,), numticks=8))
    axis.xaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axis.xaxis.set_minor_locator(NullLocator())


def _is_text(value: object) -> bool:
    return isinstance(value, str | bool)


def _averaged(numbers: Sequence[float]) -> np.ndarray:
    return np.array([part.mean() for part in np.array_split(np.asarray(numbers, dtype=float), min(len(numbers), 25))])


def _dashes(number: int) -> str:
    return ("-", "--", ":", "-.")[number // 10 % 4]


def _legend_beside(axis: Axes, columns: int = 1) -> None:
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, ncols=columns)
