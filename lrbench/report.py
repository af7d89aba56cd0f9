"""Tables and pictures from the results of a sweep. `python -m lrbench.report runs/quick` makes them again."""

import argparse
import importlib.resources
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from rich.console import Console
from rich.table import Table

from lrbench import __version__, pictures, results
from lrbench.config import ConfigError
from lrbench.results import TrialResult
from lrbench.stats import MIN_PAIRS, Interval, paired_difference, t_interval


@dataclass(frozen=True)
class Row:
    """One scheduler in the ranking: its final runs, and how they differ from the best scheduler's, seed by seed."""

    scheduler: str
    arguments: dict[str, float | int | str | bool]
    runs: list[TrialResult]
    accuracies: np.ndarray
    mean: Interval
    behind: Interval  # behind the best scheduler

    @property
    def diverged(self) -> int:
        """How many of the final runs diverged; they count with chance accuracy."""
        return sum(run.state == "diverged" for run in self.runs)

    @property
    def tied(self) -> bool:
        """Whether the difference from the best may be none, as far as these runs can tell."""
        return not self.behind.low > 0 or len(self.runs) < MIN_PAIRS


def ranking(found: Sequence[TrialResult]) -> list[Row]:
    """Return the schedulers by their mean test accuracy in the final runs, the best first."""
    schedulers = dict.fromkeys(result.spec.scheduler.name for result in found if result.spec.phase == "final")
    final = {name: results.of_phase(found, name, "final") for name in schedulers}
    accuracies = {name: {run.spec.seed: run.last("test/accuracy") for run in runs} for name, runs in final.items()}
    ordered = sorted(final, key=lambda name: -float(np.mean(list(accuracies[name].values()))))
    rows = []
    for name in ordered:
        mine, best = accuracies[name], accuracies[ordered[0]]
        pairs = [seed for seed in mine if seed in best]
        behind = paired_difference(np.array([best[seed] for seed in pairs]), np.array([mine[seed] for seed in pairs]))
        values = np.array(list(mine.values()))
        rows.append(Row(name, final[name][0].spec.sampled, final[name], values, t_interval(values), behind))
    return rows


def write(folder: Path) -> list[Row]:
    """Write report.md, its pictures and results.jsonl into a sweep's folder, from the runs in it.

    Raises ConfigError where there are none.
    """
    found = results.read_all(folder / "trials")
    rows = ranking(found)
    if not rows:
        raise ConfigError(f"{folder}: no finished final runs to report on; start the sweep again to make them")
    results.write_lines(folder / "results.jsonl", found)
    template = importlib.resources.files("lrbench").joinpath("report.md.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    values = {"name": folder.name, "rows": rows, "pictures": _draw(rows, folder / "pictures"), **_circumstances(rows, found)}
    results.write_text(folder / "report.md", environment.from_string(template).render(values))
    return rows


def _draw(rows: Sequence[Row], folder: Path) -> dict[str, str]:
    """Draw the pictures of a report, and return their file names with what they show."""
    folder.mkdir(exist_ok=True)
    points, means = {row.scheduler: row.accuracies.tolist() for row in rows}, {row.scheduler: row.mean for row in rows}
    drawn = {
        "final.png": (
            pictures.intervals(points, means, "test accuracy, %"),
            "Final runs: each as a point, their mean and its 95 % interval",
        ),
        "lr.png": (pictures.lr_curves({row.scheduler: row.runs[0].curves["lr"] for row in rows}), "Learning rates of the final runs"),
    }
    for metric, file in (("val/accuracy", "accuracy.png"), ("train/loss", "loss.png")):
        curves = {
            row.scheduler: [run.curves[metric] for run in row.runs if run.state == "finished" and metric in run.curves] for row in rows
        }
        if known := {scheduler: runs for scheduler, runs in curves.items() if runs}:
            drawn[file] = pictures.metric_curves(known, metric), f"{metric} in the final runs: mean and range over the seeds"
    for file, (figure, _) in drawn.items():
        pictures.save(figure, folder / file)
    return {file: caption for file, (_, caption) in drawn.items()}


def show(console: Console, rows: Sequence[Row]) -> None:
    """Print the ranking."""
    table = Table(box=None, padding=(0, 2, 0, 0), title="test accuracy of the final runs, %", title_justify="left", title_style="bold")
    for column in ("", "scheduler", "mean", "95 % interval", "behind the best", "runs"):
        table.add_column(column, justify="left" if column == "scheduler" else "right", no_wrap=True)
    for number, row in enumerate(rows, 1):
        interval = "" if np.isnan(row.mean.low) else f"{100 * row.mean.low:.2f} to {100 * row.mean.high:.2f}"
        behind = "" if number == 1 else f"{100 * row.behind.mean:.2f}{' (tie)' if row.tied else ''}"
        runs = f"{len(row.runs)}" + (f", {row.diverged} diverged" if row.diverged else "")
        table.add_row(str(number), row.scheduler, f"{100 * row.mean.mean:.2f}", interval, behind, runs)
    console.print(table)
    pairs = min(len(row.runs) for row in rows)
    if pairs < MIN_PAIRS:
        console.print(f"{pairs} final runs each: too few to claim that one scheduler is better ({MIN_PAIRS} pairs are the least).")


def arguments(row: Row) -> str:
    """Return the chosen configuration as it is written on a command line."""
    return " ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.arguments.items())


def commit(folder: Path) -> str:
    """Return the commit of the checkout that lrbench runs from, with a mark where it was changed; else its version."""
    try:
        head = subprocess.run(["git", "-C", folder, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=10)
        changes = subprocess.run(["git", "-C", folder, "status", "--porcelain"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return f"version {__version__}"
    if head.returncode:
        return f"version {__version__}"
    return head.stdout.strip() + (" with uncommitted changes" if changes.stdout.strip() else "")


def _circumstances(rows: Sequence[Row], found: Sequence[TrialResult]) -> dict[str, object]:
    """Return what a reader needs to judge and to repeat the results."""
    search = [run for run in found if run.spec.phase == "search"]
    hardware = {f"{run.environment['device']}, torch {run.environment['torch']}, Python {run.environment['python']}" for run in found}
    last = max(milliseconds for run in found for curve in run.curves.values() for milliseconds in curve.times)
    return {
        "final": rows[0].runs[0].spec,
        "search": search[0].spec if search else None,
        "trials": max((run.spec.trial or 0 for run in search), default=-1) + 1,
        "runs": len(found),
        "seconds": sum(run.train_seconds + run.eval_seconds for run in found),
        "diverged": sum(run.state == "diverged" for run in found),
        "pairs": min(len(row.runs) for row in rows),
        "min_pairs": MIN_PAIRS,
        "hardware": sorted(hardware),
        "commit": commit(Path(__file__).parent),
        "date": time.strftime("%Y-%m-%d", time.gmtime(last / 1000)),
        "arguments": arguments,
        "isnan": np.isnan,
    }


def main() -> None:
    """Make the report of a sweep's folder again, and print its ranking."""
    parser = argparse.ArgumentParser(prog="python -m lrbench.report", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a sweep's folder, such as runs/quick")
    folder = parser.parse_args().folder
    try:
        if not (folder / "trials").is_dir():
            raise ConfigError(f"{folder}: not the folder of a sweep (it has no trials/)")
        show(Console(), write(folder))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"report: {folder / 'report.md'}")


if __name__ == "__main__":
    main()
