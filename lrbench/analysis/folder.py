"""The results and the ranking of a sweep's folder."""

from collections.abc import Sequence
from pathlib import Path

from lrbench.analysis.ranking import Ranking, rank_schedulers
from lrbench.analysis.statistics import DEFAULT_DELTA
from lrbench.results.files import read_lines, read_results
from lrbench.results.provenance import settings_of
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


def rank_folder(
    folder: Path,
    results: Sequence[TrialResult] | None = None,
    baseline: str | None = None,
    target: float | None = None,
    delta: float | None = None,
) -> Ranking:
    """Return the ranking of a sweep's folder, by the settings in its config.yaml.

    `results` are the results in the folder, if they are known. Raises ConfigError if there are no
    final runs.
    """
    settings = settings_of(folder)
    if delta is None:
        delta = settings.get("report", {}).get("delta", DEFAULT_DELTA)
    found = load_results(folder) if results is None else results
    try:
        return rank_schedulers(found, baseline, target, confirm=settings.get("confirm", 0), delta=delta)
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from error
