"""What spread startup trials gain in real searches, against random ones."""

import argparse
from pathlib import Path

import numpy as np

from lrbench.analysis.folder import load_results
from lrbench.analysis.outcomes import SearchOutcome, outcomes_of
from lrbench.results.provenance import settings_of


def outcomes(folder: Path) -> dict[tuple[str, int], SearchOutcome]:
    """Return the searches with final runs in a sweep's folder, by scheduler and number."""
    found = outcomes_of(load_results(folder), settings_of(folder)["confirm"])
    return {(name, one.number): one for name, searches in found.items() for one in searches if one.finals}


def main() -> None:
    """Print how the choices of two sweeps differ that differ only in startup_trials."""
    parser = argparse.ArgumentParser(prog="scripts/bench starts", description=main.__doc__)
    parser.add_argument("spread", type=Path, help="the folder of the sweep with spread startup trials")
    parser.add_argument("random", type=Path, help="the folder of the sweep with startup_trials=1")
    arguments = parser.parse_args()
    first, second = outcomes(arguments.spread), outcomes(arguments.random)
    shared = [search for search in first if search in second]
    pairs = 100 * np.array([(first[search].mean, second[search].mean) for search in shared])
    differences = pairs[:, 0] - pairs[:, 1]
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    levels = {name: pairs[[search[0] == name for search in shared]].mean() for name, _ in shared}
    centered = pairs - np.array([[levels[name]] for name, _ in shared])
    print(f"{len(shared)} searches of each, test accuracy of the choice:")
    for label, values, rest in zip(("spread", "random"), pairs.T, centered.T, strict=True):
        low = np.quantile(rest, 0.1)
        print(f"  {label}: mean {values.mean():.2f} %; a tenth of the searches is {-low:.2f} points or more below")
    print("    the mean of the scheduler")
    print(f"  difference, paired by scheduler and search: {differences.mean():+.2f} ± {error:.2f} points")


if __name__ == "__main__":
    main()
