"""The report of a sweep, written from its results alone."""

from pathlib import Path

from lrbench.analysis.ranking import Ranking, rank_schedulers
from lrbench.reporting import sections
from lrbench.reporting.csv_table import as_csv
from lrbench.reporting.figures import draw_figures
from lrbench.reporting.render import render
from lrbench.results.files import read_lines, read_results, write_lines, write_text
from lrbench.results.provenance import provenance_of
from lrbench.results.result import TrialResult
from lrbench.spec import ConfigError


def load_results(folder: Path) -> list[TrialResult]:
    """Return the results in a sweep's folder. Committed results have no curves.

    Raises ConfigError if the folder has neither trials/ nor results.jsonl.
    """
    if (folder / "trials").is_dir():
        return read_results(folder / "trials")
    if (folder / "results.jsonl").exists():
        return read_lines(folder / "results.jsonl")
    raise ConfigError(f"{folder}: must be the folder of a sweep, with trials/ or results.jsonl")


def write_report(folder: Path, baseline: str | None = None, target: float | None = None) -> Ranking:
    """Write report.md, report.html, pictures, results.csv and results.jsonl into a sweep's folder.

    Raises ConfigError if the folder has no final runs.
    """
    results = read_results(folder / "trials")
    try:
        ranking = rank_schedulers(results, baseline, target)
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from error
    provenance, pictures = provenance_of(folder, results), folder / "pictures"
    figures = draw_figures(ranking, provenance.settings, pictures)
    values = {
        "name": provenance.settings.get("name", folder.resolve().name),
        "answer": sections.answer(ranking),
        "sections": sections.sections(ranking, results, provenance, figures),
    }
    write_lines(folder / "results.jsonl", results)
    write_text(folder / "results.csv", as_csv(results))
    for name in ("report.md", "report.html"):
        write_text(folder / name, render(name, values, pictures))
    return ranking
