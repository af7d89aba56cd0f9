"""What MLflow's page of an experiment shows as it opens: saved views, kept as tags of the experiment.

Its menu "Views" lists them, and `viewStateShareKey` in an address opens one. MLflow documents neither the tags nor the fields;
both are as its page writes them itself (mlflow 3.17, `savedViewEnvelope.ts`, `ExperimentPageUIState.tsx`, `runs-charts.types.ts`).
"""

import json
from typing import Any

ALL, FINAL = "lrbench-runs", "lrbench-final"
TAG = "mlflow.sharedViewState."


def page(experiment_id: str, view: str = ALL) -> str:
    """Return the address of an experiment's curves, behind that of the server."""
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={view}"


def description(experiment_id: str) -> str:
    """Return what stands at the top of an experiment's pages: for who comes from the list, which opens elsewhere."""
    runs, means = (page(experiment_id, view).removeprefix("/") for view in (ALL, FINAL))
    return f"Curves of [all runs]({runs}), and of [the final runs, averaged for each scheduler]({means})"


def tags(created: int) -> dict[str, str]:
    """Return the experiment's tags that hold the views; `created` is in milliseconds since 1970."""
    views = {
        ALL: ("all runs", _state('tags.phase != "sweep"')),
        FINAL: ("final runs, averaged for each scheduler", _state('tags.phase = "final"', "scheduler")),
    }
    return {
        TAG + key: json.dumps({"name": name, "createdAt": created, "updatedAt": created, "state": json.dumps(state)})
        for key, (name, state) in views.items()
    }


def _state(search: str, group_tag: str | None = None) -> dict[str, Any]:
    """Return a view of the runs that `search` finds, sorted by accuracy, which also keeps MLflow from hiding them under their parents."""
    chosen = {"datasetsFilter": [], "lifecycleFilter": "Active", "modelVersionFilter": "All Runs", "startTime": "ALL"}
    group = {"aggregateFunction": "average", "groupByKeys": [{"mode": "tag", "groupByData": group_tag}]}
    return {
        **chosen,
        "searchFilter": search,
        "orderByKey": "metrics.`val/accuracy`",
        "orderByAsc": False,
        "runsHiddenMode": "SHOW_ALL",
        "groupBy": group if group_tag else None,
        "isAccordionReordered": True,
        "compareRunSections": [_section("curves", columns=3), _section("more", columns=3)],
        "compareRunCharts": [
            *(_chart(metric, "curves") for metric in ("lr", "val/accuracy", "train/loss")),
            *(_chart(metric, "more") for metric in ("val/loss", "test/accuracy", "test/loss")),
        ],
    }


def _section(name: str, columns: int) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": True, "isReordered": False, "isGenerated": True, "columns": columns, "cardHeight": 360}


def _chart(metric: str, section: str) -> dict[str, Any]:
    chart = {"uuid": metric, "metricSectionId": section, "isGenerated": False, "metricKey": metric, "displayName": metric}
    if metric.startswith("test/"):  # one point a run
        return {**chart, "type": "BAR", "runsCountToCompare": 100}
    settings = {"xAxisKey": "step", "yAxisKey": "metric", "useGlobalXaxisKey": True, "useGlobalLineSmoothing": True, "range": {}}
    return {**chart, **settings, "type": "LINE", "selectedMetricKeys": [metric]}
