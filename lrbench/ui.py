"""Show the published runs in the browser: `python -m lrbench.ui` starts MLflow's server."""

import argparse
import socket
from pathlib import Path

from lrbench import __version__, cli
from lrbench.tracking.browser import HOST, PORT
from lrbench.tracking.mlflow_client import experiment_pages
from lrbench.tracking.server import become_server, free_port, store_of


def main() -> None:
    """Start MLflow's server for this machine alone, and print the addresses to open."""
    parser = argparse.ArgumentParser(prog="python -m lrbench.ui", description=main.__doc__)
    parser.add_argument("--version", action="version", version=f"lrbench {__version__}")
    parser.add_argument("port", type=int, nargs="?", help=f"the server's port; default: the first free one from {PORT}")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="the folder of the sweeps; default: runs")
    with cli.exit_codes():
        args = parser.parse_args()
        uri, port = store_of(args.out), free_port(args.port)
    _print_addresses(uri, port)
    become_server(uri, port)


def _print_addresses(uri: str, port: int) -> None:
    print("After a few seconds, open")
    for name, page in experiment_pages(uri).items():
        print(f"  {name + ':':12} http://{HOST}:{port}{page}")
    print(f"From another machine, run this first: ssh -L {port}:{HOST}:{port} {socket.gethostname()}")
    print("Ctrl-C stops the server.", flush=True)


if __name__ == "__main__":
    main()
