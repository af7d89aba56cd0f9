"""Show the published runs in the browser: `python -m lrbench.ui` starts MLflow's server."""

import argparse
import os
import socket
import sys
from pathlib import Path

from lrbench import cli
from lrbench.spec import ConfigError
from lrbench.tracking.browser import HOST, PORT
from lrbench.tracking.mlflow_client import experiment_pages, mlflow_environment, tracking_uri

PORTS = 100  # how many ports are tried


def main() -> None:
    """Start MLflow's server for this machine alone, and print the addresses to open."""
    parser = argparse.ArgumentParser(prog="python -m lrbench.ui", description=main.__doc__)
    parser.add_argument("port", type=int, nargs="?", help=f"the server's port; default: the first free one from {PORT}")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="the folder of the sweeps; default: runs")
    args = parser.parse_args()
    with cli.exit_codes():
        uri, port = _store(args.out), _free_port(args.port)
    _print_addresses(uri, port)
    _become_server(uri, port)


def _print_addresses(uri: str, port: int) -> None:
    print("After a few seconds, open")
    for name, page in experiment_pages(uri).items():
        print(f"  {name + ':':12} http://{HOST}:{port}{page}")
    print(f"From another machine, run this first: ssh -L {port}:{HOST}:{port} {socket.gethostname()}")
    print("Ctrl-C stops the server.", flush=True)


def _become_server(uri: str, port: int) -> None:
    """Replace this process by MLflow's server."""
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--backend-store-uri", uri),
        *("--host", HOST),
        *("--port", str(port)),
        *("--workers", "1"),
        *("--uvicorn-opts", "--log-level warning"),
    ]
    # MLflow's jobs are for traces of language models.
    environment = {**mlflow_environment(os.environ), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    os.execve(sys.executable, command, environment)


def _store(out: Path) -> str:
    if not (out / "mlflow.db").exists():
        raise ConfigError(
            f"--out={out}: must hold published runs; {out / 'mlflow.db'} does not exist. "
            "Train with scripts/sweep or python -m lrbench.train first."
        )
    return tracking_uri(out, None)


def _free_port(wanted: int | None) -> int:
    """Return the wanted port if it is free, or the first free one if None. Raises ConfigError."""
    for port in range(PORT, PORT + PORTS) if wanted is None else [wanted]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError):  # in use, or not from 0 to 65535
                continue
            return int(probe.getsockname()[1])
    if wanted is None:
        raise ConfigError(f"all ports from {PORT} to {PORT + PORTS - 1} are in use. Give another port.")
    raise ConfigError(f"port={wanted}: must be a free port from 1 to 65535. Without it, lrbench chooses one.")


if __name__ == "__main__":
    main()
