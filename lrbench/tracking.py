"""Publish runs for people: the only file that knows MLflow. What it holds can be made again from the results."""

import logging
import os
import queue
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from lrbench.results import TrialResult

if TYPE_CHECKING:
    pass

# Set before MLflow is imported, which reads them then. A server that is down costs seconds, not the default four minutes.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")

METRICS_A_CALL = 1000  # MLflow's limit
STATUS = {"finished": "FINISHED", "diverged": "FAILED", "failed": "FAILED"}


def store_uri(out: Path, uri: str | None) -> str:
    """Return where runs are published: the given URI, else the SQLite store in `out`, by its absolute path."""
    return uri or f"sqlite:///{out.absolute() / 'mlflow.db'}"


def ui_command(uri: str) -> str:
    """Return the command that shows a store to this machine's user."""
    if not uri.startswith("sqlite:"):
        return f"open {uri}"
    mlflow = "mlflow" if shutil.which("mlflow") else str(Path(sys.executable).with_name("mlflow"))
    return f"{mlflow} server --backend-store-uri {uri} --host 127.0.0.1 --port 5000   (then open http://127.0.0.1:5000)"


class Publisher:
    """Publishes the runs of one experiment in a thread of its own: training never waits for it, nor fails with it.

    A run that MLflow has already, by its tag `lrbench.key`, is left alone.
    """

    def __init__(self, out: Path, uri: str | None, experiment: str) -> None:
        self.failure: str | None = None
        self._out, self._uri, self._experiment = out, store_uri(out, uri), experiment
        self._queue: queue.Queue[TrialResult | tuple[TrialResult, Mapping[str, object]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)
        self._thread.start()

    def publish(self, result: TrialResult) -> None:
        """Publish a run, soon."""
        self._queue.put(result)

    def publish_best(self, final: TrialResult, best: Mapping[str, object]) -> None:
        """Publish what a scheduler's search chose, and the curves of a final run of it, on the scheduler's parent run."""
        self._queue.put((final, best))

    def close(self) -> None:
        """Wait until everything is published, or has failed to be: then `failure` says why."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            store = _Store(self._out, self._uri, self._experiment)
            while (item := self._queue.get()) is not None:
                if isinstance(item, TrialResult):
                    store.add(item)
                else:
                    store.add_best(*item)
            store.end_parents()
        except Exception as error:  # whatever goes wrong with MLflow, training goes on and the results are on disk
            self.failure = (str(error) or type(error).__name__).splitlines()[0]


class _Store:
    def __init__(self, out: Path, uri: str, experiment: str) -> None:
        from mlflow import MlflowClient

        for noisy in ("mlflow", "alembic"):  # they announce the making of their tables
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.client: MlflowClient = MlflowClient(tracking_uri=uri)
        known = self.client.get_experiment_by_name(experiment)
        if known:
            self.experiment = known.experiment_id
        else:
            artifacts = (out.absolute() / "mlartifacts" / experiment).as_uri() if uri.startswith("sqlite:") else None
            tags = {"mlflow.experiment.primaryMetric.name": "val/accuracy", "mlflow.experiment.primaryMetric.greaterIsBetter": "true"}
            self.experiment = self.client.create_experiment(experiment, artifact_location=artifacts, tags=tags)
        self.runs: dict[str, str] = {}  # lrbench.key to run id
        token: str | None = ""
        while token is not None:
            page = self.client.search_runs([self.experiment], max_results=1000, page_token=token or None)
            for run in page:
                self._know(
                    run.data.tags.get("lrbench.key"), run.info.run_id, run.info.status, parent="mlflow.parentRunId" not in run.data.tags
                )
            token = page.token or None
        self.parents: dict[str, str] = {}

    def _know(self, key: str | None, run_id: str, status: str, *, parent: bool) -> None:
        if key and (parent or status != "RUNNING"):
            self.runs[key] = run_id
        elif key:  # published in part when its process ended
            self.client.delete_run(run_id)

    def add(self, result: TrialResult) -> None:
        from mlflow.entities import Param

        spec = result.spec
        key = spec.key()
        if key in self.runs:
            return
        times = [time for curve in result.curves.values() for time in curve.times]
        trial = "" if spec.trial is None else f" trial {spec.trial}"
        tags = {
            "lrbench.key": key,
            "mlflow.runName": f"{spec.scheduler.name} {spec.phase}{trial} seed {spec.seed}",
            "scheduler": spec.scheduler.name,
            "phase": spec.phase,
            "seed": str(spec.seed),
            "trial": "" if spec.trial is None else str(spec.trial),
            "state": result.state,
            "device": result.environment.get("device", ""),
        }
        if spec.trial is not None:
            tags["mlflow.parentRunId"] = self._parent(spec.scheduler.name)
        run_id = self.client.create_run(self.experiment, start_time=min(times), tags=tags).info.run_id
        params = {
            "scheduler": spec.scheduler.name,
            "optimizer": spec.optimizer.name,
            "optimizer.lr": spec.optimizer.lr,
            "model": spec.model.name,
            "epochs": spec.train.epochs,
            "batch_size": spec.train.batch_size,
            "train_images": spec.data.train_images,
            "seed": spec.seed,
            **spec.sampled,
        }
        self.client.log_batch(run_id, params=[Param(name, str(value)) for name, value in params.items()])
        self._log_metrics(run_id, result)
        self.client.log_text(run_id, yaml.safe_dump(spec.model_dump(by_alias=True), sort_keys=False), "config.yaml")
        self._log_curve(run_id, result)
        self.client.set_terminated(run_id, STATUS[result.state], end_time=max(times))
        self.runs[key] = run_id

    def add_best(self, final: TrialResult, best: Mapping[str, object]) -> None:
        run_id = self._parent(final.spec.scheduler.name)
        self._log_metrics(run_id, final)  # MLflow's charts show parents alone until they are opened
        for name, value in best.items():
            self.client.set_tag(run_id, f"best.{name}", str(value))
        self.client.log_text(run_id, yaml.safe_dump(dict(best)), "best.yaml")

    def end_parents(self) -> None:
        for run_id in self.parents.values():
            self.client.set_terminated(run_id)

    def _parent(self, scheduler: str) -> str:
        """Return the run of a scheduler, under which its trainings stand; it is made where there is none."""
        key = f"scheduler {scheduler}"
        if scheduler not in self.parents:
            tags = {"lrbench.key": key, "mlflow.runName": scheduler, "scheduler": scheduler, "phase": "sweep"}
            self.parents[scheduler] = self.runs.get(key) or self.client.create_run(self.experiment, tags=tags).info.run_id
        return self.parents[scheduler]

    def _log_metrics(self, run_id: str, result: TrialResult) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, time, step)
            for name, curve in result.curves.items()
            for step, value, time in zip(curve.steps, curve.values, curve.times, strict=True)
        ]
        for start in range(0, len(metrics), METRICS_A_CALL):
            self.client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_CALL])

    def _log_curve(self, run_id: str, result: TrialResult) -> None:
        from lrbench import pictures

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lr.png"
            pictures.save(pictures.lr_curves({result.spec.scheduler.name: result.curves["lr"]}), path)
            self.client.log_artifact(run_id, str(path))
