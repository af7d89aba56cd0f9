"""How much of the lead of the best trial is luck, in real searches with confirmation runs."""

import argparse
from pathlib import Path

import numpy as np

from lrbench.analysis.folder import load_results
from lrbench.analysis.outcomes import SearchOutcome, outcomes_of
from lrbench.results.provenance import settings_of
from lrbench.results.selection import best_trials, trial_scores


def scores(outcome: SearchOutcome, confirm: int) -> np.ndarray:
    """Return the two validation accuracies of each of the best trials, shape (confirm, 2)."""
    first = trial_scores(outcome.search)
    again = {run.spec.trial_number: run.last("val/accuracy") for run in outcome.confirmation}
    return np.array([(first[trial], again[trial]) for trial in best_trials(outcome.search, confirm)])


def main() -> None:
    """Print how the lead of the best trial changes when the best trials are trained again."""
    parser = argparse.ArgumentParser(prog="scripts/bench confirmations", description=main.__doc__)
    parser.add_argument("folder", type=Path, nargs="+", help="the folder of a sweep with confirm=3, such as sweeps/cpu")
    found, changed = [], 0
    for folder in parser.parse_args().folder:
        confirm = settings_of(folder)["confirm"]
        for outcome in (one for searches in outcomes_of(load_results(folder), confirm).values() for one in searches):
            found.append(scores(outcome, confirm))
            assert outcome.choice
            changed += outcome.choice.trial != best_trials(outcome.search, 1)[0]
    leads = 100 * (np.array(found)[:, :1] - np.array(found)[:, 1:])  # of the best trial over each of the next
    means, errors = leads.mean(axis=0), leads.std(axis=0, ddof=1) / np.sqrt(len(leads))
    print(f"{len(found)} searches; the confirmation changed the choice in {changed}")
    for place, (mean, error) in enumerate(zip(means, errors, strict=True), 2):
        first, second = (f"{value:.2f} ± {half:.2f}" for value, half in zip(mean, error, strict=True))
        print(f"lead of the best trial over number {place}, points: {first} in the search, {second} when trained again")


if __name__ == "__main__":
    main()
