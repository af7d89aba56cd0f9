"""Publish to MLflow the finished runs that it lacks: `python -m lrbench.sync runs/quick`."""

import argparse
import sys
from pathlib import Path

from lrbench import __version__, cli
from lrbench.tracking.browser import browser_hint
from lrbench.tracking.sync import publish_folder


def main() -> None:
    """Publish the finished runs of a folder to MLflow. Runs that it has already stay unchanged."""
    parser = argparse.ArgumentParser(prog="python -m lrbench.sync", description=main.__doc__)
    parser.add_argument("--version", action="version", version=f"lrbench {__version__}")
    parser.add_argument("folder", type=Path, help="a sweep's folder, such as runs/quick, or runs/train")
    parser.add_argument(
        "--uri", help="a server or a store, such as http://127.0.0.1:5000; default: mlflow.db next to the folder"
    )
    with cli.exit_codes():
        args = parser.parse_args()
        publisher = publish_folder(args.folder, args.uri)
    if publisher.failure:
        sys.exit(f"error: MLflow lacks some runs ({publisher.failure}); the results are safe. Try again later.")
    print(f"published; runs in the browser: {browser_hint(args.folder.parent, args.uri, publisher.page)}")


if __name__ == "__main__":
    main()
