"""Publish to MLflow what it lacks of the finished runs in a folder: `python -m lrbench.sync runs/quick`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lrbench import cli, comparison, results, ui
from lrbench.comparison import Ranking
from lrbench.results import TrialResult
from lrbench.spec import ConfigError
from lrbench.tracking import Publisher


def publish_summary(publisher: Publisher, folder: Path, found: Sequence[TrialResult], ranking: Ranking) -> None:
    """Publish each scheduler's choice with the curves of a final run of it, and the report, on the parent runs."""
    for row in ranking.rows:
        search = results.of_phase(found, row.scheduler, "search")
        trial = results.chosen_trial(search)
        if trial is not None:
            values = {"trial": trial, "val/accuracy": results.trial_scores(search)[trial], **row.runs[0].spec.sampled}
            publisher.publish_best(row.runs[0], values)
    publisher.publish_report(folder)


def publish(folder: Path, uri: str | None) -> Publisher:
    """Publish a sweep's folder to the store at `uri`, or to the one beside it; what is there already is left alone."""
    found = results.read_all(folder / "trials")
    if not found:
        raise ConfigError(f"{folder}: no finished runs in {folder / 'trials'}")
    with Publisher(folder.parent, uri, folder.name) as publisher:
        for result in found:
            publisher.publish(result)
        if any(result.spec.phase == "final" and result.spec.trial is not None for result in found):
            publish_summary(publisher, folder, found, comparison.ranking(found))
    return publisher


def main() -> None:
    """Publish to MLflow what it lacks of the finished runs in a folder."""
    parser = argparse.ArgumentParser(prog="python -m lrbench.sync", description=main.__doc__)
    parser.add_argument("folder", type=Path, help="a sweep's folder, such as runs/quick, or runs/train")
    parser.add_argument("--uri", help="of a server or store, such as http://127.0.0.1:5000; else mlflow.db beside the folder")
    args = parser.parse_args()
    with cli.exit_codes():
        publisher = publish(args.folder, args.uri)
    if publisher.failure:
        print(f"error: MLflow does not have all runs ({publisher.failure}); the results are safe", file=sys.stderr)
        sys.exit(1)
    print(f"published; runs in the browser: {ui.hint(args.folder.parent, args.uri, publisher.page)}")


if __name__ == "__main__":
    main()
