"""Show the published runs in the browser: `python -m lrbench.ui` starts MLflow's server for this machine alone."""

import argparse
import os
import socket
import sys
from pathlib import Path

from lrbench import cli, store
from lrbench.spec import ConfigError

HOST, PORT = "127.0.0.1", 5000


def hint(out: Path, uri: str | None, page: str | None) -> str:
    """Return how a person gets to see an experiment's page; None where MLflow did not tell it."""
    if uri:
        return f"open {uri.rstrip('/')}{page or ''}" if uri.startswith("http") else f"mlflow server --backend-store-uri {uri}"
    place = [] if out == Path("runs") else ["--out", str(out)]
    return f"{cli.command_line('lrbench.ui', place)}   (then open http://{HOST}:{PORT}{page or '/'})"


def main() -> None:
    """Show the runs of a store in the browser: starts MLflow's server on 127.0.0.1, and says which address to open."""
    parser = argparse.ArgumentParser(prog="python -m lrbench.ui", description=main.__doc__)
    parser.add_argument("port", type=int, nargs="?", help=f"where to listen; else {PORT}, or the next one that is free")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="the folder that sweeps write into; else runs")
    args = parser.parse_args()
    with cli.exit_codes():
        uri, port = _store(args.out), _free_port(args.port)
    address = f"http://{HOST}:{port}"
    print("In some seconds, open")
    for name, page in store.pages(uri).items():
        print(f"  {name + ':':12} {address}{page}")
    print(f"From another machine, first: ssh -L {port}:{HOST}:{port} {socket.gethostname()}\nCtrl-C ends it.", flush=True)
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # its jobs are for traces of language models
    server = ["--backend-store-uri", uri, "--host", HOST, "--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "server", *server])


def _store(out: Path) -> str:
    if not (out / "mlflow.db").exists():
        raise ConfigError(f"{out / 'mlflow.db'}: nothing has been published there yet; scripts/sweep or python -m lrbench.train does")
    return store.uri_of(out, None)


def _free_port(wanted: int | None) -> int:
    for port in range(PORT, PORT + 100) if wanted is None else [wanted]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError):
                continue
            return port
    raise ConfigError(f"port {wanted}: something listens there already, or it is none; without one, lrbench looks for one that is free")


if __name__ == "__main__":
    main()
