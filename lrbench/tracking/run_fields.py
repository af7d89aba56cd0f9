"""The tags, parameters and points of a training as MLflow shows them."""

from lrbench.results.result import Points, TrialResult
from lrbench.spec import TrialSpec

KEY_TAG = "lrbench.key"  # a run's TrialSpec.key(), by which it is found again
PARENT_TAG = "mlflow.parentRunId"


def run_tags(spec: TrialSpec) -> dict[str, str]:
    """Return the tags of a run that is being trained."""
    return {
        KEY_TAG: spec.key(),
        "mlflow.runName": spec.name(),
        "scheduler": spec.scheduler.name,
        "phase": spec.phase,
        "search": "" if spec.trial is None else str(spec.search),
        "seed": str(spec.seed),
        "trial": "" if spec.trial is None else str(spec.trial),
        "state": "running",
    }


def parent_tags(scheduler: str) -> dict[str, str]:
    """Return the tags of the parent run of a scheduler in a sweep."""
    return {
        KEY_TAG: f"scheduler {scheduler}",
        "mlflow.runName": scheduler,
        "scheduler": scheduler,
        "phase": "sweep",
    }


def run_params(spec: TrialSpec) -> dict[str, object]:
    """Return the parameters of a run: the most important ones, and the values that were sampled."""
    return {
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


def result_points(result: TrialResult) -> Points:
    """Return the points of a run's curves by metric."""
    return {
        name: list(zip(curve.steps, curve.values, curve.times, strict=True)) for name, curve in result.curves.items()
    }
