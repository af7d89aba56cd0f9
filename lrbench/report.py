"""The report of a sweep: tables, pictures and words, from its results alone. `python -m lrbench.report runs/quick` makes it again."""

import argparse
import base64
import csv
import importlib.resources
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape
from rich.console import Console

from lrbench import cli, comparison, figures, pictures, provenance, repeats, results, sections, side_by_side, verify
from lrbench.blocks import Table
from lrbench.comparison import Ranking
from lrbench.results import TrialResult
from lrbench.spec import ConfigError

COLUMNS = (
    "scheduler", "phase", "trial", "seed", "state", "val_accuracy", "test_accuracy", "best_test_accuracy", "lr", "sampled", "epochs",
    "steps", "train_seconds", "eval_seconds", "device", "torch",
)  # fmt: skip


def load(folder: Path) -> list[TrialResult]:
    """Return the results of a sweep: those in its folder, or those that were committed without their curves. Raises ConfigError."""
    if (folder / "trials").is_dir():
        return results.read_all(folder / "trials")
    if (folder / "results.jsonl").exists():
        return results.read_lines(folder / "results.jsonl")
    raise ConfigError(f"{folder}: not the folder of a sweep (it has no trials/ and no results.jsonl)")


def write(folder: Path, baseline: str | None = None, target: float | None = None) -> Ranking:
    """Write report.md, report.html, their pictures, results.csv and results.jsonl into a sweep's folder, from the runs in it.

    Raises ConfigError where there are none.
    """
    found = results.read_all(folder / "trials")
    try:
        ranking = comparison.ranking(found, baseline, target)
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from error
    made = provenance.of(folder, found)
    shown = figures.draw(ranking, made.settings, folder / "pictures")
    written = sections.sections(ranking, found, made, shown, folder / "pictures")
    name = made.settings.get("name", folder.resolve().name)
    values = {"name": name, "answer": sections.answer(ranking), "sections": written}
    results.write_lines(folder / "results.jsonl", found)
    results.write_text(folder / "results.csv", as_csv(found))
    for template in ("report.md", "report.html"):
        results.write_text(folder / template, _render(template, values, folder / "pictures"))
    return ranking


def as_csv(found: Sequence[TrialResult]) -> str:
    """Return a line for each run, under COLUMNS; accuracies are fractions, and what a run does not have is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_csv_row(run) for run in found)
    return text.getvalue()


def _csv_row(run: TrialResult) -> dict[str, object]:
    """Return a run as a line of results.csv; a final run that diverged has the chance accuracy that it counts with."""
    made = comparison.steps(run)
    validation = run.curves.get("val/accuracy")
    return {
        "scheduler": run.spec.scheduler.name,
        "phase": run.spec.phase,
        "trial": run.spec.trial,
        "seed": run.spec.seed,
        "state": run.state,
        "val_accuracy": validation.values[-1] if validation and run.state == "pruned" else run.last("val/accuracy") if validation else "",
        "test_accuracy": run.last("test/accuracy") if run.spec.phase == "final" else "",
        "best_test_accuracy": comparison.best_test_accuracy(run),
        "lr": run.spec.optimizer.lr,
        "sampled": json.dumps(run.spec.sampled),
        "epochs": made / run.spec.train.steps_per_epoch,
        "steps": made,
        "train_seconds": round(run.train_seconds, 3),
        "eval_seconds": round(run.eval_seconds, 3),
        "device": run.environment["device"],
        "torch": run.environment["torch"],
    }


def _render(name: str, values: Mapping[str, Any], folder: Path) -> str:
    template = importlib.resources.files("lrbench").joinpath(f"{name}.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=name.endswith(".html"),
    )
    environment.filters["markup"] = _markup
    environment.filters["embedded"] = lambda file: f"data:image/png;base64,{base64.b64encode((folder / file).read_bytes()).decode()}"
    environment.filters["width"] = lambda file: pictures.width(folder / file)
    return environment.from_string(template).render(values)


def _markup(text: str) -> Markup:
    """Return the marks of Markdown that a report uses as HTML.

    >>> _markup("**1** < `a<b`")
    Markup('<strong>1</strong> &lt; <code>a&lt;b</code>')
    """
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", str(escape(text))))
    return Markup(marked)  # it is escaped above


def show(console: Console, ranking: Ranking) -> None:
    """Print the ranking, and what it says."""
    whole = sections.ranking_table(ranking)
    rows = [[*row[:5], row[5] if row[6] == "0" else f"{row[5]}, {row[6]} diverged"] for row in whole.rows]
    print_table(
        console, Table(["", "scheduler", "mean", "95 % interval", "behind", "runs"], rows, left=(1,)), "test accuracy of the final runs, %"
    )
    console.print(sections.answer(ranking))


def print_table(console: Console, table: Table, title: str) -> None:
    """Print a table of a report; a line that is too long for the terminal is wrapped, not cut."""
    console.print(title, style="bold")
    widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
    for row in (table.columns, *table.rows):
        cells = [
            cell.ljust(width) if place in table.left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        console.print("  ".join(cells).rstrip())


def main() -> None:
    """Make the report of a sweep's folder again and print its ranking; print the rankings of several side by side; verify a row of one."""
    parser = argparse.ArgumentParser(prog="python -m lrbench.report", description=main.__doc__)
    parser.add_argument("folder", type=Path, nargs="*", help="a sweep's folder, such as runs/quick or sweeps/quick; several are compared")
    parser.add_argument("--baseline", help="the scheduler that the others are compared with, beside the best; constant where it is there")
    parser.add_argument("--target", type=float, help="the validation accuracy to which time is measured, such as 0.6")
    parser.add_argument(
        "--verify",
        nargs=2,
        metavar=("FOLDER", "SCHEDULER[:SEED]"),
        help="train the final runs of a scheduler again, or one of them, and say whether the accuracy is the same, or in the interval",
    )
    parser.add_argument("--allow", nargs="*", default=[], help="beside lrbench's own, where the code of a verified run may come from")
    given = parser.parse_args()
    console = Console(soft_wrap=True, markup=False, highlight=False)
    with cli.exit_codes():
        if given.verify:
            sys.exit(0 if verify.verify(load(Path(given.verify[0])), given.verify[1], console.print, given.allow) else 1)
        if given.target is not None and not 0 < given.target < 1:
            raise ConfigError(f"--target {given.target:g}: a fraction between 0 and 1 is expected, such as 0.6")
        if not given.folder:
            parser.error("a sweep's folder is needed, such as runs/quick")
        _report(console, list(dict.fromkeys(given.folder)), given.baseline, given.target)


def _report(console: Console, folders: Sequence[Path], baseline: str | None, target: float | None) -> None:
    if len(folders) > 1:
        _report_several(console, {str(folder): comparison.ranking(load(folder)) for folder in folders})
        return
    (folder,) = folders
    if (folder / "trials").is_dir():
        show(console, write(folder, baseline, target))
        console.print(f"report: {folder / 'report.md'}, {folder / 'report.html'}")
    else:
        show(console, comparison.ranking(load(folder), baseline, target))


def _report_several(console: Console, rankings: Mapping[str, Ranking]) -> None:
    parts = [("test accuracy of the final runs, %, side by side", *side_by_side.compare(rankings))]
    if len(rankings) >= repeats.LEAST and not side_by_side.differences(rankings) and (common := repeats.common(rankings)):
        if shared := repeats.shared_seeds(rankings):
            parts[0][2].append(f"they share seeds of final runs, such as {shared[0]}; with seed=0, seed=100, ... they would be repeats")
        else:
            parts.append((f"over the {len(rankings)} sweeps, which repeat each other with other seeds", *repeats.over_sweeps(common)))
    for title, table, words in parts:
        print_table(console, table, title)
        for line in words:
            console.print(line)


if __name__ == "__main__":
    main()
