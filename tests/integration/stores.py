"""The contents of Optuna's journal and of MLflow's store, read with the two libraries."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from lrbench.tracking.mlflow_client import open_client

if TYPE_CHECKING:
    from mlflow.entities import Run

Curves = dict[str, list[tuple[int, float]]]  # by metric: step, value


def studies(journal: Path) -> dict[str, list[tuple[str, dict[str, Any], float | None]]]:
    """Return the trials of each study in a journal: state, values and score."""
    storage = JournalStorage(JournalFileBackend(str(journal)))
    names = sorted(study.study_name for study in storage.get_all_studies())
    loaded = {name: optuna.load_study(study_name=name, storage=storage) for name in names}
    return {
        name: [(trial.state.name, trial.params, trial.value) for trial in study.get_trials()]
        for name, study in loaded.items()
    }


def runs(uri: str, name: str = "smoke") -> "list[Run]":
    """Return the runs of an experiment in a store, its parent runs included."""
    client = open_client(uri)
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def curves(uri: str, run: "Run") -> Curves:
    """Return the curves of a run. No point may be there twice."""
    client = open_client(uri)
    history = {name: client.get_metric_history(run.info.run_id, name) for name in sorted(run.data.metrics)}
    points = {name: [(point.step, point.value) for point in metric] for name, metric in history.items()}
    assert all(len(metric) == len({step for step, _ in metric}) for metric in points.values())
    return points


def published(uri: str) -> list[tuple[str | None, str, Curves]]:
    """Return the key, the status and the curves of each run of the sweep `smoke`, sorted by key."""
    found = [(run.data.tags.get("lrbench.key"), run.info.status, curves(uri, run)) for run in runs(uri)]
    return sorted(found, key=lambda run: str(run[0]))
