"""How lrbench opens MLflow: the environment variables, the client, the database and the pages.

MLflow reads its environment when it is imported. So every other module gets its client here.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from lrbench.tracking import mlflow_views

if TYPE_CHECKING:
    from mlflow import MlflowClient

TELEMETRY_OFF = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
# With MLflow's defaults, a call to a server that is down takes four minutes.
HTTP_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
SQLITE = "sqlite:///"


def mlflow_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for MLflow: telemetry is off, and HTTP limits are set unless given."""
    return {**HTTP_LIMITS, **environment, **TELEMETRY_OFF}


def tracking_uri(out: Path, uri: str | None) -> str:
    """Return `uri`, by default the SQLite store in the folder `out`, with its absolute path."""
    return uri or f"{SQLITE}{out.absolute() / 'mlflow.db'}"


def open_client(uri: str) -> "MlflowClient":
    """Return a client of a store. Imports MLflow, with its telemetry off in this process."""
    os.environ.update(mlflow_environment(os.environ))
    from mlflow import MlflowClient

    for logger in ("mlflow", "alembic"):  # they would print a line for each table that they create
        logging.getLogger(logger).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def create_database(uri: str) -> None:
    """Create a SQLite store if `uri` names one that does not exist.

    MLflow needs seconds to create its tables, and a partially created database is unusable. So it
    is created under another name and then moved.
    """
    path = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.parent / ".mlflow"
    with filelock.FileLock(f"{unfinished}.lock"):
        if path.exists():  # another process was faster
            return
        shutil.rmtree(unfinished, ignore_errors=True)  # left by a process that was killed
        unfinished.mkdir()
        open_client(f"{SQLITE}{unfinished / path.name}").search_experiments()
        (unfinished / path.name).replace(path)
        shutil.rmtree(unfinished)


def experiment_pages(uri: str) -> dict[str, str]:
    """Return the page of each experiment that has runs, by its name, latest first.

    A page is the part of its address after the server's.
    """
    client = open_client(uri)
    experiments = client.search_experiments(order_by=["last_update_time DESC"])
    return {
        experiment.name: mlflow_views.page(experiment.experiment_id)
        for experiment in experiments
        if client.search_runs([experiment.experiment_id], max_results=1)
    }
