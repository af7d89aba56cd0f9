"""Publish the finished runs in a folder, and the summary of a sweep."""

from pathlib import Path

from lrbench.analysis.folder import rank_folder
from lrbench.analysis.ranking import Ranking
from lrbench.results.files import read_results
from lrbench.spec import ConfigError
from lrbench.tracking.publisher import Publisher


def publish_summary(publisher: Publisher, folder: Path, ranking: Ranking) -> None:
    """Publish the recommended configuration of each scheduler, the curves of one of its final runs,
    and the report. All of them go to the parent runs.
    """
    for row in ranking.rows:
        outcome = row.recommended
        assert outcome.choice
        values = {"search": outcome.number, "trial": outcome.choice.trial, "val/accuracy": outcome.choice.score}
        publisher.publish_best(outcome.finals[0], {**values, **outcome.arguments})
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
            publish_summary(publisher, folder, rank_folder(folder, results))
    return publisher
