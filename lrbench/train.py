"""Train one network: `python -m lrbench.train scheduler=cosine optimizer.lr=0.5`.

Hydra's `-m` trains several, one for each combination of values.
"""

from lrbench import cli
from lrbench.orchestration.single_run import run_once


def main() -> None:
    """Train one network, or one for each job of a multirun."""
    cli.command("config", run_once)


if __name__ == "__main__":
    main()
