"""Draw learning-rate curves without training: `python -m lrbench.curves schedulers=all`."""

from lrbench import cli
from lrbench.reporting.curves import draw_curves


def main() -> None:
    """Draw the learning-rate curves of schedulers, and print their arguments and warnings."""
    cli.command("curves", draw_curves)


if __name__ == "__main__":
    main()
