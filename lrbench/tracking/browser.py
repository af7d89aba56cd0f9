"""The address or command that opens the published runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrbench.command_line import command_line
from lrbench.tracking.publisher import Publisher

HOST, PORT = "127.0.0.1", 5000


def published_line(out: Path, tracking: Mapping[str, Any], publisher: Publisher, folder: Path) -> str:
    """Return where the published runs are, or how to publish them if nothing was published."""
    if tracking["name"] == "none":
        return f"nowhere, because of tracking=none. To publish: {command_line('lrbench.sync', [str(folder)])}"
    return browser_hint(out, tracking["uri"], publisher.page)


def browser_hint(out: Path, uri: str | None, page: str | None) -> str:
    """Return the address or the command that opens an experiment's page.

    Without a `uri`, the store is in the folder `out`. `page` is empty if MLflow is unreachable.
    """
    if uri and uri.startswith("http"):
        return f"open {uri.rstrip('/')}{page or ''}"
    if uri:
        return f"mlflow server --backend-store-uri {uri}"
    options = [] if out == Path("runs") else ["--out", str(out)]
    return f"{command_line('lrbench.ui', options)}   (then open http://{HOST}:{PORT}{page or '/'})"
