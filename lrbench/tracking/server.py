"""MLflow's server, for the published runs of this machine."""

import os
import socket
import sys
from pathlib import Path

from lrbench.spec import ConfigError
from lrbench.tracking.browser import HOST, PORT
from lrbench.tracking.mlflow_client import mlflow_environment, tracking_uri

PORTS = 100  # how many ports are tried


def become_server(uri: str, port: int) -> None:
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


def store_of(out: Path) -> str:
    """Return the address of the store in the folder `out`. Raises ConfigError without a store."""
    if not (out / "mlflow.db").exists():
        raise ConfigError(
            f"--out={out}: must hold published runs; {out / 'mlflow.db'} does not exist. "
            "Train with scripts/sweep or python -m lrbench.train first."
        )
    return tracking_uri(out, None)


def free_port(wanted: int | None) -> int:
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
    raise ConfigError(f"port={wanted}: must be a free port from 1 to 65535. Leave it out to use the first free port.")
