import json
from typing import Any

import pytest

from lrbench.tracking import mlflow_views
from lrbench.tracking.mlflow_views import ALL, FINAL, TAG


def _state(view: str) -> dict[str, Any]:
    saved = json.loads(mlflow_views.tags(created=7)[TAG + view])
    assert saved["createdAt"] == saved["updatedAt"] == 7
    state: dict[str, Any] = json.loads(saved["state"])
    return state


def test_the_page_of_an_experiment_opens_the_charts_of_all_runs() -> None:
    page = mlflow_views.page("12")
    assert page.startswith("/#/experiments/12/runs?")
    assert "compareRunsMode=CHART" in page
    assert page.endswith(f"viewStateShareKey={ALL}")


def test_the_description_links_to_both_views() -> None:
    text = mlflow_views.description("12")
    for view in (ALL, FINAL):
        assert f"({mlflow_views.page('12', view).removeprefix('/')})" in text


@pytest.mark.parametrize("view", [ALL, FINAL])
def test_a_view_has_a_chart_for_each_metric(view: str) -> None:
    charts = [(chart["metricKey"], chart["type"]) for chart in _state(view)["compareRunCharts"]]
    assert charts == [
        ("lr", "LINE"),
        ("val/accuracy", "LINE"),
        ("train/loss", "LINE"),
        ("val/loss", "LINE"),
        ("test/accuracy", "BAR"),
        ("test/loss", "BAR"),
    ]


def test_every_chart_is_in_a_section_of_its_view() -> None:
    state = _state(ALL)
    sections = {section["uuid"] for section in state["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == sections


def test_the_views_differ_in_their_runs() -> None:
    assert (_state(ALL)["searchFilter"], _state(ALL)["groupBy"]) == ('tags.phase != "sweep"', None)
    assert _state(FINAL)["searchFilter"] == 'tags.phase = "final"'
    assert _state(FINAL)["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "scheduler"}]
