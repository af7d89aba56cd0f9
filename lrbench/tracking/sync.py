"""Publish the finished runs in a folder, and the summary of a sweep."""

from collections.abc import Sequence
from pathlib import Path

from lrbench.analysis.ranking import Ranking, rank_schedulers
from lrbench.results.files import read_results
from lrbench.results.result import TrialResult
from lrbench.results.selection import choose, runs_of_phase
from lrbench.spec import ConfigError
from lrbench.tracking.publisher import Publisher


def publish_summary(publisher: Publisher, folder: Path, results: Sequence[TrialResult], ranking: Ranking) -> None:
    """Publish the chosen trial of each scheduler, the curves of one of its final runs, and the
    report. All of them go to the parent runs.
    """
    for row in ranking.rows:
        search = runs_of_phase(results, row.scheduler, "search")
        confirmation = runs_of_phase(results, row.scheduler, "confirm")
        choice = choose(search, confirmation, len({run.spec.trial for run in confirmation}))
        if choice is not None:
            values = {"trial": choice.trial, "val/accuracy": choice.score, **row.runs[0].spec.sampled}
            publisher.publish_best(row.runs[0], values)
    publisher.publish_report(folder)


def publish_folder(folder: Path, uri: str | None) -> Publisher:
    """Publish the runs of a folder that the store lacks, and return the closed publisher.

    Without a `uri`, the store is mlflow.db next to the folder. Raises ConfigError if there are no
    finished runs.
    """
    results = read_results(folder / "trials")
    if not results:
        raise ConfigError(
            f"{folder}: must have finished runs in {folder / 'trials'}. Use the folder of a sweep, such as runs/quick."
        )
    with Publisher(folder.parent, uri, folder.name) as publisher:
        for result in results:
            publisher.publish(result)
        if any(result.spec.phase == "final" and result.spec.trial is not None for result in results):
            publish_summary(publisher, folder, results, rank_schedulers(results))
    return publisher
