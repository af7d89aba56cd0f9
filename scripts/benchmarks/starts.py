"""What spread startup trials gain in real searches, against random ones."""

import argparse
from pathlib import Path

import numpy as np

from lrbench.analysis.folder import load_results
from lrbench.analysis.outcomes import SearchOutcome, outcomes_of
from lrbench.results.provenance import settings_of
from lrbench.results.selection import trial_scores


def outcomes(folder: Path) -> dict[tuple[str, int], SearchOutcome]:
    """Return the searches with final runs in a sweep's folder, by scheduler and number."""
    found = outcomes_of(load_results(folder), settings_of(folder)["confirm"])
    return {(name, one.number): one for name, searches in found.items() for one in searches if one.finals}


def best_validation(outcome: SearchOutcome) -> float:
    """Return the highest score of a search's trials."""
    return max(trial_scores(outcome.search).values())


def mean_and_error(differences: np.ndarray) -> str:
    """Return the mean of paired differences, shape (n,), and its standard error as text."""
    return f"{differences.mean():+.2f} ± {differences.std(ddof=1) / np.sqrt(len(differences)):.2f} points"


def main() -> None:
    """Print how the choices of two sweeps differ that differ only in startup_trials."""
    parser = argparse.ArgumentParser(prog="scripts/bench starts", description=main.__doc__)
    parser.add_argument("spread", type=Path, help="the folder of the sweep with spread startup trials")
    parser.add_argument("random", type=Path, help="the folder of the sweep with startup_trials=1")
    arguments = parser.parse_args()
    first, second = outcomes(arguments.spread), outcomes(arguments.random)
    shared = [search for search in first if search in second]
    tests = 100 * np.array([(first[search].mean, second[search].mean) for search in shared])
    scores = 100 * np.array([(best_validation(first[search]), best_validation(second[search])) for search in shared])
    print(f"{len(shared)} searches of each kind; differences are paired by scheduler and search")
    print(f"best validation accuracy of a search: {mean_and_error(scores[:, 0] - scores[:, 1])}")
    print(f"test accuracy of its choice: {mean_and_error(tests[:, 0] - tests[:, 1])}")
    levels = {name: tests[[search[0] == name for search in shared]].mean() for name, _ in shared}
    below = np.array([[levels[name]] for name, _ in shared]) - tests  # the mean of the scheduler
    for label, values in zip(("spread", "random"), below.T, strict=True):
        print(
            f"{label}: the worst tenth of the choices is {np.quantile(values, 0.9):.2f} points or more below the mean"
        )


if __name__ == "__main__":
    main()
