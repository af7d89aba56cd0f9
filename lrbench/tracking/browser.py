"""The address or command that opens the published runs."""

from pathlib import Path

from lrbench.command_line import command_line

HOST, PORT = "127.0.0.1", 5000


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
