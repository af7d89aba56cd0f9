"""The runs of a sweep as a table for a spreadsheet: results.csv."""

import csv
import io
import json
from collections.abc import Sequence

from lrbench.results.result import EXTRA_TEST_ACCURACIES, TrialResult

COLUMNS = (
    "scheduler", "phase", "search", "trial", "seed", "state", "val_accuracy", "test_accuracy", "best_test_accuracy",
    "test_views_accuracy", "test_average_accuracy", "test_average_views_accuracy", "lr", "sampled", "epochs", "steps",
    "loss_spikes", "train_seconds", "eval_seconds", "device", "torch",
)  # fmt: skip


def as_csv(results: Sequence[TrialResult]) -> str:
    """Return one row per run, under COLUMNS.

    Accuracies are fractions. `loss_spikes` is a number of steps. A missing value is empty.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(run) for run in results)
    return text.getvalue()


def _row(run: TrialResult) -> dict[str, object]:
    """Return a run as a row. A diverged final run has chance accuracy, as in the ranking."""
    return {
        "scheduler": run.spec.scheduler.name,
        "phase": run.spec.phase,
        "search": run.spec.search,
        "trial": run.spec.trial,
        "seed": run.spec.seed,
        "state": run.state,
        "val_accuracy": _validation_accuracy(run),
        "test_accuracy": run.last("test/accuracy") if run.spec.is_scored_on_test else "",
        "best_test_accuracy": run.best_test_accuracy,
        **_extra_accuracies(run),
        "lr": run.spec.optimizer.lr,
        "sampled": json.dumps(run.spec.sampled),
        "epochs": run.steps_trained / run.spec.train.steps_per_epoch,
        "steps": run.steps_trained,
        "loss_spikes": "" if run.loss_spikes is None else run.loss_spikes.steps,
        "train_seconds": round(run.train_seconds, 3),
        "eval_seconds": round(run.eval_seconds, 3),
        "device": run.environment["device"],
        "torch": run.environment["torch"],
    }


def _extra_accuracies(run: TrialResult) -> dict[str, float | str]:
    return {
        metric.replace("/", "_"): run.last(metric) if metric in run.curves else "" for metric in EXTRA_TEST_ACCURACIES
    }


def _validation_accuracy(run: TrialResult) -> float | str:
    curve = run.curves.get("val/accuracy")
    if curve is None:
        return ""
    return curve.values[-1] if run.state == "pruned" else run.last("val/accuracy")
