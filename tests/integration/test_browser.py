"""MLflow's pages and the report in a real browser, Debian's chromium.

The tests of MLflow's pages fail if it changes the undocumented tags that
lrbench/tracking/mlflow_views.py relies on.

LRBENCH_SCREENSHOTS=folder saves a picture of each page.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

MISSING = [program for program in ("chromium", "chromedriver") if not shutil.which(program)]
pytestmark = [
    pytest.mark.skipif(
        bool(MISSING), reason=f"no {' and no '.join(MISSING)} here (Debian: apt install chromium chromium-driver)"
    ),
]

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1900,1150"
)
# The names of the runs whose curves are drawn, by metric, which MLflow adds to plotly's traces.
DRAWN = """
const drawn = {}
for (const plot of document.querySelectorAll(".js-plotly-plot")) {
  const lines = [...plot.querySelectorAll(".scatterlayer .js-line")].filter(line => line.getAttribute("d"))
  for (const trace of plot.data)
    if (lines.length >= plot.data.length && trace.x && trace.x.length > 1)
      (drawn[trace.metricKey] ??= new Set()).add(trace.name)
}
return Object.fromEntries(Object.entries(drawn).map(([metric, runs]) => [metric, [...runs]]))
"""
METRIC_LINKS = """
const links = [...document.querySelectorAll('a[href*="/metric?"]')]
return Object.fromEntries(links.map(link => [link.textContent.trim(), link.href]))
"""
# For the pictures: closes MLflow's assistant and its remark on shared views, and hides the buttons
# that charts show without a mouse.
TIDY = """
document.querySelectorAll('[aria-label="Close"], [role="alert"] button:last-child').forEach(button => button.click())
document.head.insertAdjacentHTML("beforeend", "<style>.modebar-container {display: none}</style>")
"""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Chrome]":
    from selenium import webdriver

    os.environ["SE_OFFLINE"] = "true"  # selenium must not download anything
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(swept: Path) -> Iterator[str]:
    """The address of a sweep's curves that `lrbench.ui` prints, once its server answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lrbench.ui", str(port)]
    with subprocess.Popen(command, cwd=swept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout
        lines = [server.stdout.readline() for _ in range(4)]
        _wait_for(partial(_listens, port))
        yield next(line.split()[1] for line in lines if "smoke:" in line)
        server.terminate()


def _wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return value


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _keep_screenshot(browser: "Chrome", name: str) -> None:
    if folder := os.environ.get("LRBENCH_SCREENSHOTS"):
        browser.execute_script(TIDY)
        time.sleep(1)
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def _console(browser: "Chrome") -> list[str]:
    """Return the new messages of the browser's console."""
    entries = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries]


def _both_drawn(browser: "Chrome", metric: str) -> bool:
    return {name.split()[0] for name in browser.execute_script(DRAWN).get(metric, [])} == {"cosine", "cyclic"}


def test_the_chart_view_overlays_the_curves_of_all_runs(browser: "Chrome", page: str) -> None:
    browser.get(page)

    for metric in ("lr", "val/accuracy", "train/loss"):
        _wait_for(partial(_both_drawn, browser, metric))
    drawn = browser.execute_script(DRAWN)
    _keep_screenshot(browser, "curves")
    assert len(drawn["lr"]) == len(drawn["train/loss"]) == 10  # in the final runs nothing is held out
    assert len(drawn["val/accuracy"]) == 6


def test_the_compare_view_draws_the_curves_of_two_schedulers(browser: "Chrome", page: str) -> None:
    runs = [_a_final_run(page, scheduler) for scheduler in ("cosine", "cyclic")]
    server = page.partition("/#/")[0]
    browser.get(f"{server}/#/compare-runs?runs={json.dumps(runs)}&experiments={json.dumps(['1'])}")
    links = _wait_for(lambda: browser.execute_script(METRIC_LINKS))
    _keep_screenshot(browser, "compare")
    for metric in ("lr", "train/loss"):
        browser.get(links[metric])
        _wait_for(partial(_both_drawn, browser, metric))
    _keep_screenshot(browser, "compare-metric")


def test_the_page_that_the_list_of_experiments_opens_links_to_the_curves(browser: "Chrome", page: str) -> None:
    browser.get(page.partition("/runs?")[0])
    links = _wait_for(lambda: [link for link in browser.find_elements("css selector", "a") if link.text == "all runs"])
    assert links[0].get_attribute("href") == page


def test_the_report_opens_without_an_error(browser: "Chrome", swept: Path) -> None:
    report = swept / "runs" / "smoke" / "report.html"
    _console(browser)  # removes the messages of earlier pages
    browser.get(report.as_uri())
    _keep_screenshot(browser, "report")
    assert browser.title
    assert _console(browser) == []


def _a_final_run(page: str, scheduler: str) -> str:
    search = {"experiment_ids": ["1"], "filter": f'tags.scheduler = "{scheduler}" and tags.phase = "final"'}
    address = f"{page.partition('/#/')[0]}/api/2.0/mlflow/runs/search"
    request = urllib.request.Request(address, json.dumps(search).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["runs"][0]["info"]["run_id"])
