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
    shown = folder / "pictures"
    shown.mkdir(exist_ok=True)
    first = {row.scheduler: row.runs[0] for row in rows}
    pictures.save(pictures.lr_curves({name: run.curves["lr"] for name, run in first.items()}), shown / "lr.png")
    points, means = {row.scheduler: row.accuracies.tolist() for row in rows}, {row.scheduler: row.mean for row in rows}
    pictures.save(pictures.intervals(points, means, "test accuracy of the final runs, %"), shown / "final.png")
    for metric, name in (("train/loss", "loss"), ("val/accuracy", "accuracy")):
        curves = {
            row.scheduler: [run.curves[metric] for run in row.runs if run.state == "finished" and metric in run.curves] for row in rows
        }
        if curves := {name: runs for name, runs in curves.items() if runs}:
            pictures.save(pictures.metric_curves(curves, metric), shown / f"{name}.png")
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)
    template = importlib.resources.files("lrbench").joinpath("report.md.jinja").read_text(encoding="utf-8")
    text = environment.from_string(template).render(
        rows=rows,
        found=found,
        folder=folder.name,
        runs=found,
        pictures=sorted(path.name for path in shown.glob("*.png")),
        min_pairs=MIN_PAIRS,
        pairs=min(len(row.runs) for row in rows),
        **_circumstances(folder, found),
    )
    results.write_text(folder / "report.md", text)
    return rows


def show(console: Console, rows: Sequence[Row]) -> None:
    """Print the ranking."""
    table = Table(title="final runs, test accuracy in %", title_justify="left")
    for name in ("", "scheduler", "mean", "95 % interval", "behind the best", "runs", "chosen"):
        table.add_column(name, justify="left" if name in ("scheduler", "chosen") else "right")
    for number, row in enumerate(rows, 1):
        interval = "" if np.isnan(row.mean.low) else f"{100 * row.mean.low:.2f} to {100 * row.mean.high:.2f}"
        behind = "best" if number == 1 else f"{100 * row.behind.mean:.2f}{' (tie)' if row.tied else ''}"
        runs = f"{len(row.runs)}" + (f", {row.diverged} diverged" if row.diverged else "")
        table.add_row(str(number), row.scheduler, f"{100 * row.mean.mean:.2f}", interval, behind, runs, arguments(row))
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


def _circumstances(folder: Path, found: Sequence[TrialResult]) -> dict[str, object]:
    """Return what a reader needs to judge and to repeat the results."""
    spec = found[0].spec
    return {
        "commit": commit(Path(__file__).parent),
        "environments": sorted(
            {f"{run.environment['device']}, torch {run.environment['torch']}, Python {run.environment['python']}" for run in found}
        ),
        "date": time.strftime("%Y-%m-%d", time.gmtime(max(max(curve.times) for run in found for curve in run.curves.values()) / 1000)),
        "spec": spec,
        "trials": max((run.spec.trial or 0) for run in found if run.spec.phase == "search") + 1,
        "search_runs": sum(run.spec.phase == "search" for run in found),
        "seconds": sum(run.train_seconds + run.eval_seconds for run in found),
        "diverged": sum(run.state == "diverged" for run in found),
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
