"""The store of runs for people: the only file that knows MLflow. What it holds can be made again from the results."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import filelock
import yaml

from lrbench import views
from lrbench.results import Points, TrialResult
from lrbench.spec import TrialSpec

if TYPE_CHECKING:
    from mlflow.entities import Run

# Set before MLflow is imported, which reads them then. A server that is down costs seconds, not the default four minutes.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "true"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's is ten times as fast
STATUS = {"finished": "FINISHED", "diverged": "FAILED", "pruned": "KILLED"}  # in MLflow, of a run that ended so
NOTHING: Mapping[str, Any] = MappingProxyType({})
REPORT = ("report.md", "report.html", "results.csv", "pictures/*")  # what of a sweep's folder is for its readers
EXPERIMENT_TAGS = {
    "mlflow.experiment.primaryMetric.name": "val/accuracy",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
    "mlflow.experimentKind": "custom_model_development",
}


def uri_of(out: Path, uri: str | None) -> str:
    """Return where runs are published: the given URI, else the SQLite store in `out`, by its absolute path."""
    return uri or f"sqlite:///{out.absolute() / 'mlflow.db'}"


def pages(uri: str) -> dict[str, str]:
    """Return the address of each experiment that has runs, behind that of the server, by its name."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.search_experiments(order_by=["last_update_time DESC"])
    return {known.name: views.page(known.experiment_id) for known in found if client.search_runs([known.experiment_id], max_results=1)}


def _make(uri: str) -> None:
    """Make a SQLite store that is not there, whole or not at all: MLflow's tables take seconds, and half of them is a store for nothing."""
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.parent / ".mlflow"
    with filelock.FileLock(f"{making}.lock"):
        if path.exists():  # another process was faster
            return
        shutil.rmtree(making, ignore_errors=True)  # of a process that was killed
        making.mkdir()
        MlflowClient(tracking_uri=f"sqlite:///{making / path.name}").search_experiments()
        (making / path.name).replace(path)
        shutil.rmtree(making)


class Store:
    """The runs of one experiment in a store that may have them already, by their tag `lrbench.key`."""

    def __init__(self, out: Path, uri: str, experiment: str) -> None:
        from mlflow import MlflowClient

        for noisy in ("mlflow", "alembic"):  # they announce the making of their tables
            logging.getLogger(noisy).setLevel(logging.WARNING)
        _make(uri)
        self.client: MlflowClient = MlflowClient(tracking_uri=uri)
        known = self.client.get_experiment_by_name(experiment)
        if known:
            self.experiment = known.experiment_id
        else:
            artifacts = (out.absolute() / "mlartifacts" / experiment).as_uri() if uri.startswith("sqlite:") else None
            self.experiment = self.client.create_experiment(experiment, artifact_location=artifacts)
        self._tag_experiment()
        self.ended: dict[str, str] = {}  # lrbench.key to run id
        self.growing: dict[str, str] = {}
        self.left: dict[str, str] = {}  # unfinished when their process ended, or growing in another process
        self.parents: dict[str, str] = {}  # scheduler to run id
        self.best: dict[str, str] = {}  # scheduler to the key of the run whose curves its parent has
        self.touched: set[str] = set()  # the parents that this process has published to
        for run in self._runs():
            self._know(run)

    def _tag_experiment(self) -> None:
        known = self.client.get_experiment(self.experiment)
        written = {"mlflow.note.content": views.description(self.experiment), **known.tags}  # a person may have written another
        for key, value in {**written, **EXPERIMENT_TAGS, **views.tags(known.creation_time or 0)}.items():
            if known.tags.get(key) != value:
                self.client.set_experiment_tag(self.experiment, key, value)

    def _runs(self, filter_string: str = "") -> "Iterator[Run]":
        token: str | None = ""
        while token is not None:
            page = self.client.search_runs([self.experiment], filter_string, max_results=1000, page_token=token or None)
            yield from page
            token = page.token or None

    def _know(self, run: "Run") -> None:
        tags, run_id = run.data.tags, run.info.run_id
        key = tags.get("lrbench.key")
        if key is None:
            return
        if tags["phase"] == "sweep":
            self.parents[tags["scheduler"]] = run_id
            self.best[tags["scheduler"]] = tags.get("lrbench.best", "")
        elif tags["state"] in STATUS and run.info.status != "RUNNING":
            self.ended[key] = run_id
        elif "mlflow.parentRunId" in tags:  # a sweep's, which has its experiment to itself
            self.client.delete_run(run_id)
        else:
            self.left[key] = run_id

    def add(self, result: TrialResult) -> None:
        """End a run with its result: the run that has grown, or a new one; nothing where it has ended already."""
        key = result.spec.key()
        if key in self.ended:
            return
        points = points_of(result)
        tags = {"device": result.environment.get("device", ""), "reason": result.reason, "state": result.state}
        run_id = self._log_to(result.spec, points, tags)  # the points that it has already are the same, and MLflow keeps one of each
        if result.spec.trial is None:  # those of a sweep are on the page of its scheduler
            self._log_picture(run_id, result)
        last = max(time for metric in points.values() for _, _, time in metric)
        self.client.set_terminated(run_id, STATUS[result.state], end_time=last)
        self.ended[key] = run_id

    def grow(self, spec: TrialSpec, points: Points) -> None:
        """Add points to a run that is being trained; one whose curves begin anew takes the place of the one before."""
        key = spec.key()
        if key in self.growing and points.get("lr", [(-1, 0.0, 0)])[0][0] == 0:  # its worker died, and another began anew
            self.client.delete_run(self.growing.pop(key))
        self.growing[key] = self._log_to(spec, points)

    def fail(self, spec: TrialSpec, reason: str) -> None:
        """End a run that has no result; the next start trains it again."""
        run_id = self._log_to(spec, {}, {"reason": reason[:1000], "state": "failed"})
        self.client.set_terminated(run_id, "FAILED")

    def add_best(self, final: TrialResult, best: Mapping[str, object]) -> None:
        """Give the parent run of a scheduler its choice, and the curves of a final run of it, in place of those of another choice."""
        scheduler, key = final.spec.scheduler.name, final.spec.key()
        shown = self.best.get(scheduler) or key
        run_id = self._parent(scheduler) if shown == key else self._renew_parent(scheduler)
        tags = {"lrbench.best": key, **{f"best.{name}": str(value) for name, value in best.items()}}
        self._log(run_id, points_of(final), tags)  # MLflow's own charts show parents alone until they are opened
        self.client.log_text(run_id, yaml.safe_dump(dict(best)), "best.yaml")
        self.best[scheduler] = key

    def add_report(self, folder: Path) -> None:
        for path in (path for pattern in REPORT for path in sorted(folder.glob(pattern))):
            within = path.parent.relative_to(folder).as_posix()
            for scheduler in sorted(self.touched):
                self.client.log_artifact(self.parents[scheduler], str(path), None if within == "." else within)

    def end(self, status: str) -> None:
        """End what still grows as interrupted, and the parent runs with `status`."""
        for run_id in self.growing.values():
            self.client.set_tag(run_id, "state", "interrupted")
            self.client.set_terminated(run_id, "KILLED")
        for scheduler in self.touched:
            self.client.set_terminated(self.parents[scheduler], status)

    def _log_to(self, spec: TrialSpec, points: Points, tags: Mapping[str, str] = NOTHING) -> str:
        """Log to the run of a spec that has grown, or to a new one, and return it; it is for the caller to end or to keep."""
        if run_id := self.growing.pop(spec.key(), None):
            self._log(run_id, points, tags)
            return run_id
        run_id = self._create(spec, points)
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
        self._log(run_id, points, tags, params)
        self.client.log_text(run_id, yaml.dump(spec.model_dump(by_alias=True), Dumper=DUMPER, sort_keys=False), "config.yaml")
        return run_id

    def _create(self, spec: TrialSpec, points: Points) -> str:
        """Make the run of a spec, which begins with its first point."""
        key = spec.key()
        if key in self.left:
            self.client.delete_run(self.left.pop(key))
        trial = "" if spec.trial is None else f" trial {spec.trial}"
        tags = {
            "lrbench.key": key,
            "mlflow.runName": f"{spec.scheduler.name} {spec.phase}{trial} seed {spec.seed}",
            "scheduler": spec.scheduler.name,
            "phase": spec.phase,
            "seed": str(spec.seed),
            "trial": "" if spec.trial is None else str(spec.trial),
            "state": "running",
        }
        if spec.trial is not None:
            tags["mlflow.parentRunId"] = self._parent(spec.scheduler.name)
        first = min((time for metric in points.values() for _, _, time in metric), default=None)
        run_id: str = self.client.create_run(self.experiment, start_time=first, tags=tags).info.run_id
        return run_id

    def _parent(self, scheduler: str) -> str:
        """Return the run of a scheduler, under which its trainings stand; it is made where there is none."""
        self.touched.add(scheduler)
        if scheduler not in self.parents:
            tags = {"lrbench.key": f"scheduler {scheduler}", "mlflow.runName": scheduler, "scheduler": scheduler, "phase": "sweep"}
            self.parents[scheduler] = self.client.create_run(self.experiment, tags=tags).info.run_id
        return self.parents[scheduler]

    def _renew_parent(self, scheduler: str) -> str:
        """Put another run in a parent's place: the search chose anew, and MLflow forgets no point of a curve."""
        old = self.parents.pop(scheduler)
        new = self._parent(scheduler)
        for child in list(self._runs(f"tags.`mlflow.parentRunId` = '{old}'")):
            self.client.set_tag(child.info.run_id, "mlflow.parentRunId", new)
        self.client.delete_run(old)
        return new

    def _log(self, run_id: str, points: Points, tags: Mapping[str, str] = NOTHING, params: Mapping[str, object] = NOTHING) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(name, value, time, step) for name, metric in points.items() for step, value, time in metric]
        written = [RunTag(name, value) for name, value in tags.items()]
        self.client.log_batch(run_id, metrics, [Param(name, str(value)) for name, value in params.items()], written)

    def _log_picture(self, run_id: str, result: TrialResult) -> None:
        from lrbench import pictures

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lr.png"
            pictures.save(pictures.lr_curves({result.spec.scheduler.name: result.curves["lr"]}), path)
            self.client.log_artifact(run_id, str(path))


def points_of(result: TrialResult) -> Points:
    """Return the curves of a run as they are published."""
    return {name: list(zip(curve.steps, curve.values, curve.times, strict=True)) for name, curve in result.curves.items()}
