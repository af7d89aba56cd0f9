"""The report of a sweep, written from its results alone."""

from pathlib import Path

from lrbench.analysis.folder import rank_folder
from lrbench.analysis.ranking import Ranking
from lrbench.reporting import sections
from lrbench.reporting.answer import answer
from lrbench.reporting.csv_table import as_csv
from lrbench.reporting.figures import draw_figures
from lrbench.reporting.render import render
from lrbench.reporting.spaces import search_spaces
from lrbench.results.files import read_results, write_lines, write_text
from lrbench.results.provenance import provenance_of


def write_report(
    folder: Path, baseline: str | None = None, target: float | None = None, delta: float | None = None
) -> Ranking:
    """Write report.md, report.html, pictures, results.csv and results.jsonl into a sweep's folder.

    Raises ConfigError if the folder has no final runs.
    """
    results = read_results(folder / "trials")
    ranking = rank_folder(folder, results, baseline, target, delta)
    provenance, pictures = provenance_of(folder, results), folder / "pictures"
    spaces = search_spaces(ranking, provenance.settings)
    figures = draw_figures(ranking, spaces, pictures)
    values = {
        "name": provenance.settings.get("name", folder.resolve().name),
        "answer": answer(ranking),
        "sections": sections.sections(ranking, results, provenance, spaces, figures),
    }
    write_lines(folder / "results.jsonl", results)
    write_text(folder / "results.csv", as_csv(results))
    for name in ("report.md", "report.html"):
        write_text(folder / name, render(name, values, pictures))
    return ranking
