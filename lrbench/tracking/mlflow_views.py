"""Saved views of an experiment, as tags: the charts that its page in MLflow opens with.

Without a view, MLflow's charts show only the parent runs until a person opens them. The page's menu
"Views" lists the views, and `viewStateShareKey` in an address opens one.

MLflow has no public interface for views, and documents neither the tags nor their fields. Both
follow what its page writes (mlflow 3.17: `savedViewEnvelope.ts`, `ExperimentPageUIState.tsx`,
`runs-charts.types.ts`). If a new version changes them, tests/integration/test_browser.py fails: it
looks for the curves in a real browser.
"""

import json
from typing import Any

ALL, FINAL = "lrbench-runs", "lrbench-final"  # the keys of the two views
TAG = "mlflow.sharedViewState."


def page(experiment_id: str, view: str = ALL) -> str:
    """Return the page of an experiment's curves: the part of its address after the server's."""
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={view}"
    return f"/#/experiments/{experiment_id}/runs?{query}"


def description(experiment_id: str) -> str:
    """Return the text at the top of an experiment's pages, with links to the views.

    MLflow's list of experiments opens another page, so a person who comes from it needs the links.
    """
    runs, means = (page(experiment_id, view).removeprefix("/") for view in (ALL, FINAL))
    return f"Curves of [all runs]({runs}), and of [the final runs, averaged for each scheduler]({means})"


def tags(created: int) -> dict[str, str]:
    """Return the tags of an experiment that hold the views. `created` is in ms since 1970."""
    views = {
        ALL: ("all runs", _state('tags.phase != "sweep"')),
        FINAL: ("final runs, averaged for each scheduler", _state('tags.phase = "final"', "scheduler")),
    }
    return {
        TAG + key: json.dumps({"name": name, "createdAt": created, "updatedAt": created, "state": json.dumps(state)})
        for key, (name, state) in views.items()
    }


def _state(search: str, group_tag: str | None = None) -> dict[str, Any]:
    """Return a view of the runs that match the filter `search`, averaged by the tag `group_tag`.

    The runs are sorted by accuracy. Without an order, MLflow hides them under their parents.
    """
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
        "compareRunSections": [_section("curves"), _section("more")],
        "compareRunCharts": [
            *(_chart(metric, "curves") for metric in ("lr", "val/accuracy", "train/loss")),
            *(_chart(metric, "more") for metric in ("val/loss", "test/accuracy", "test/loss")),
        ],
    }


def _section(name: str) -> dict[str, Any]:
    return {
        "uuid": name,
        "name": name,
        "display": True,
        "isReordered": False,
        "isGenerated": True,
        "columns": 3,
        "cardHeight": 360,
    }


def _chart(metric: str, section: str) -> dict[str, Any]:
    chart = {
        "uuid": metric,
        "metricSectionId": section,
        "isGenerated": False,
        "metricKey": metric,
        "displayName": metric,
    }
    if metric.startswith("test/"):  # one point per run
        return {**chart, "type": "BAR", "runsCountToCompare": 100}
    settings = {
        "xAxisKey": "step",
        "yAxisKey": "metric",
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
        "range": {},
    }
    return {**chart, **settings, "type": "LINE", "selectedMetricKeys": [metric]}
