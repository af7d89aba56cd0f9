"""Write conf/scheduler/README.md and its pictures: `python -m lrbench.catalogue`."""

import argparse
import importlib.resources
from pathlib import Path

from hydra import initialize_config_module

from lrbench.catalogue.page import write


def main() -> None:
    """Write the catalogue of the schedulers in conf/scheduler, and its pictures."""
    argparse.ArgumentParser(prog="python -m lrbench.catalogue", description=main.__doc__).parse_args()
    conf, sweeps = (Path(str(importlib.resources.files(f"lrbench.{package}"))) for package in ("conf", "sweeps"))
    with initialize_config_module("lrbench.conf", version_base="1.3"):
        write(conf / "scheduler", sweeps)
    print(f"written: {conf / 'scheduler' / 'README.md'}")


if __name__ == "__main__":
    main()
