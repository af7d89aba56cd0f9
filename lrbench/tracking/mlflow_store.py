"""The runs of one experiment in MLflow's store.

Everything in the store can be published again from the results on disk.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from lrbench.results.result import Points, TrialResult
from lrbench.spec import TrialSpec
from lrbench.tracking import mlflow_views
from lrbench.tracking.mlflow_client import create_database, open_client
from lrbench.tracking.run_fields import KEY_TAG, PARENT_TAG, parent_tags, result_points, run_params, run_tags

if TYPE_CHECKING:
    from mlflow.entities import Run

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml is ten times as fast
STATUS = {"finished": "FINISHED", "diverged": "FAILED", "pruned": "KILLED"}  # of MLflow, by state of a result
EMPTY: Mapping[str, Any] = MappingProxyType({})
REPORT = ("report.md", "report.html", "results.csv", "pictures/*")  # published files of a sweep's folder
EXPERIMENT_TAGS = {
    "mlflow.experiment.primaryMetric.name": "val/accuracy",
    "mlflow.experiment.primaryMetric.greaterIsBetter": "true",
    "mlflow.experimentKind": "custom_model_development",
}


class MlflowStore:
    """Publishes the runs of one experiment. A run that the store has already is not added again.

    Each scheduler of a sweep has a parent run, and its trainings are the children.
    """

    def __init__(self, out: Path, uri: str, experiment: str) -> None:
        create_database(uri)
        self.client = open_client(uri)
        self.experiment_id = self._open_experiment(out, uri, experiment)
        self._ended: dict[str, str] = {}  # run id by TrialSpec.key(), as in the next two
        self._growing: dict[str, str] = {}
        self._unfinished: dict[str, str] = {}  # of another process, which died or is still training them
        self._parents: dict[str, str] = {}  # run id by scheduler
        self._best: dict[str, str] = {}  # key of the final run that the parent run shows, by scheduler
        self._changed_parents: set[str] = set()  # the schedulers that this process has published
        self._tag_experiment()
        for run in self.runs():
            self._register(run)

    def runs(self, filter_string: str = "") -> "Iterator[Run]":
        """Yield the runs of the experiment that match a filter of MLflow."""
        token: str | None = ""
        while token is not None:
            page = self.client.search_runs(
                [self.experiment_id], filter_string, max_results=1000, page_token=token or None
            )
            yield from page
            token = page.token or None

    def add_result(self, result: TrialResult) -> None:
        """End a run with its result, unless it has ended already."""
        key = result.spec.key()
        if key in self._ended:
            return
        points = result_points(result)
        tags = {"device": result.environment.get("device", ""), "reason": result.reason, "state": result.state}
        run_id = self._log_training(result.spec, points, tags)  # MLflow stores a point only once
        if result.spec.trial is None:  # a run of a sweep is in its scheduler's pictures
            self._log_picture(run_id, result)
        last = max(time for metric in points.values() for _, _, time in metric)
        self.client.set_terminated(run_id, STATUS[result.state], end_time=last)
        self._ended[key] = run_id

    def add_points(self, spec: TrialSpec, points: Points) -> None:
        """Add points to a run that is being trained.

        If its curves start again at step 0, because its worker died, a new run replaces it.
        """
        key = spec.key()
        restarted = [step for step, _, _ in points.get("lr", [])][:1] == [0]
        if restarted and key in self._growing:
            self.client.delete_run(self._growing.pop(key))
        self._growing[key] = self._log_training(spec, points)

    def add_failure(self, spec: TrialSpec, reason: str) -> None:
        """End a run without a result. The next start trains it again."""
        run_id = self._log_training(spec, {}, {"reason": reason[:1000], "state": "failed"})
        self.client.set_terminated(run_id, "FAILED")

    def set_best(self, final: TrialResult, best: Mapping[str, object]) -> None:
        """Give the parent run of a scheduler the chosen values `best`, and the curves of `final`.

        MLflow's charts show only the parents until a person opens them.
        """
        scheduler, key = final.spec.scheduler.name, final.spec.key()
        if self._best.get(scheduler) in (None, "", key):
            run_id = self._parent(scheduler)
        else:
            run_id = self._replace_parent(scheduler)
        tags = {"lrbench.best": key, **{f"best.{name}": str(value) for name, value in best.items()}}
        self._log_batch(run_id, result_points(final), tags)
        self.client.log_text(run_id, yaml.safe_dump(dict(best)), "best.yaml")
        self._best[scheduler] = key

    def add_report(self, folder: Path) -> None:
        """Attach a sweep's report and pictures to each parent run that this process has changed."""
        for path in (path for pattern in REPORT for path in sorted(folder.glob(pattern))):
            subfolder = path.parent.relative_to(folder).as_posix()
            for scheduler in sorted(self._changed_parents):
                self.client.log_artifact(self._parents[scheduler], str(path), None if subfolder == "." else subfolder)

    def close(self, status: str) -> None:
        """End the growing runs as interrupted, and the changed parent runs with `status`."""
        for run_id in self._growing.values():
            self.client.set_tag(run_id, "state", "interrupted")
            self.client.set_terminated(run_id, "KILLED")
        for scheduler in self._changed_parents:
            self.client.set_terminated(self._parents[scheduler], status)

    def _open_experiment(self, out: Path, uri: str, name: str) -> str:
        """Return the id of the experiment, which is created if it is new."""
        experiment = self.client.get_experiment_by_name(name)
        if experiment:
            return str(experiment.experiment_id)
        artifacts = (out.absolute() / "mlartifacts" / name).as_uri() if uri.startswith("sqlite:") else None
        return str(self.client.create_experiment(name, artifact_location=artifacts))

    def _tag_experiment(self) -> None:
        experiment = self.client.get_experiment(self.experiment_id)
        views = mlflow_views.tags(experiment.creation_time or 0)
        tags = {**EXPERIMENT_TAGS, **views}
        if "mlflow.note.content" not in experiment.tags:  # a person may have written another description
            tags["mlflow.note.content"] = mlflow_views.description(self.experiment_id)
        for key, value in tags.items():
            if experiment.tags.get(key) != value:
                self.client.set_experiment_tag(self.experiment_id, key, value)

    def _register(self, run: "Run") -> None:
        """Remember a run of an earlier start. Delete it if it is an unfinished run of a sweep."""
        tags, run_id = run.data.tags, run.info.run_id
        key = tags.get(KEY_TAG)
        if key is None:
            return
        if tags["phase"] == "sweep":
            self._parents[tags["scheduler"]] = run_id
            self._best[tags["scheduler"]] = tags.get("lrbench.best", "")
        elif tags["state"] in STATUS and run.info.status != "RUNNING":
            self._ended[key] = run_id
        elif PARENT_TAG in tags:  # no other process writes to the experiment of a sweep
            self.client.delete_run(run_id)
        else:
            self._unfinished[key] = run_id

    def _log_training(self, spec: TrialSpec, points: Points, tags: Mapping[str, str] = EMPTY) -> str:
        """Log to the growing run of a spec, or to a new run, and return its id.

        The run is not in `_growing` afterwards: the caller ends it or puts it back.
        """
        if run_id := self._growing.pop(spec.key(), None):
            self._log_batch(run_id, points, tags)
            return run_id
        run_id = self._create_run(spec, points)
        self._log_batch(run_id, points, tags, run_params(spec))
        config = yaml.dump(spec.model_dump(by_alias=True), Dumper=DUMPER, sort_keys=False)
        self.client.log_text(run_id, config, "config.yaml")
        return run_id

    def _create_run(self, spec: TrialSpec, points: Points) -> str:
        """Create the run of a spec. It starts at the time of its first point."""
        if unfinished := self._unfinished.pop(spec.key(), None):
            self.client.delete_run(unfinished)
        tags = run_tags(spec)
        if spec.trial is not None:
            tags[PARENT_TAG] = self._parent(spec.scheduler.name)
        first = min((time for metric in points.values() for _, _, time in metric), default=None)
        run_id: str = self.client.create_run(self.experiment_id, start_time=first, tags=tags).info.run_id
        return run_id

    def _parent(self, scheduler: str) -> str:
        """Return the id of a scheduler's parent run, which is created if it is new."""
        self._changed_parents.add(scheduler)
        if scheduler not in self._parents:
            run = self.client.create_run(self.experiment_id, tags=parent_tags(scheduler))
            self._parents[scheduler] = run.info.run_id
        return self._parents[scheduler]

    def _replace_parent(self, scheduler: str) -> str:
        """Replace a parent run by a new one, because MLflow cannot remove points of a curve."""
        old = self._parents.pop(scheduler)
        new = self._parent(scheduler)
        for child in list(self.runs(f"tags.`{PARENT_TAG}` = '{old}'")):
            self.client.set_tag(child.info.run_id, PARENT_TAG, new)
        self.client.delete_run(old)
        return new

    def _log_batch(
        self, run_id: str, points: Points, tags: Mapping[str, str] = EMPTY, params: Mapping[str, object] = EMPTY
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self.client.log_batch(
            run_id,
            [Metric(name, value, time, step) for name, metric in points.items() for step, value, time in metric],
            [Param(name, str(value)) for name, value in params.items()],
            [RunTag(name, value) for name, value in tags.items()],
        )

    def _log_picture(self, run_id: str, result: TrialResult) -> None:
        from lrbench.reporting import plots  # imports matplotlib, which most commands never need

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lr.png"
            plots.save_figure(plots.lr_curves({result.spec.scheduler.name: result.curves["lr"]}), path)
            self.client.log_artifact(run_id, str(path))
