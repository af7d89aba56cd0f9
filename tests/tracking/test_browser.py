from pathlib import Path

import pytest

from lrbench.tracking.browser import browser_hint

PAGE = "/#/experiments/1/runs"


@pytest.mark.parametrize(
    ("out", "uri", "page", "end"),
    [
        ("runs", None, PAGE, "-m lrbench.ui   (then open http://127.0.0.1:5000/#/experiments/1/runs)"),
        ("runs", None, None, "-m lrbench.ui   (then open http://127.0.0.1:5000/)"),
        ("my runs", None, None, "-m lrbench.ui --out 'my runs'   (then open http://127.0.0.1:5000/)"),
        ("runs", "http://host:5000/", PAGE, "open http://host:5000/#/experiments/1/runs"),
        ("runs", "http://host:5000", None, "open http://host:5000"),
        ("runs", "postgresql://host/runs", PAGE, "mlflow server --backend-store-uri postgresql://host/runs"),
    ],
)
def test_hint(out: str, uri: str | None, page: str | None, end: str) -> None:
    assert browser_hint(Path(out), uri, page).endswith(end)
