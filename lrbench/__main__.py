"""`python -m lrbench` lists the commands of lrbench. It imports none of them, to start fast."""

from lrbench import __version__

COMMANDS = {
    "sweep": "compare schedulers: search their hyperparameters, train final runs, write a report",
    "train": "train one network with one scheduler",
    "curves": "draw learning-rate curves without training",
    "schedulers": "list the schedulers",
    "report": "write a sweep's report again, compare several sweeps, or verify a result",
    "sync": "publish the finished runs in a folder to MLflow",
    "ui": "show the published runs in the browser",
}


def main() -> None:
    """Print the commands, one line each."""
    print(f"lrbench {__version__} compares learning-rate schedulers by experiments. Its commands:\n")
    for name, purpose in COMMANDS.items():
        print(f"  python -m lrbench.{name:10} {purpose}")
    print("\nEach command explains its options with --help, such as: python -m lrbench.sweep --help")


if __name__ == "__main__":
    main()
