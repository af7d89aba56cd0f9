"""The gain from tuning a scheduler over its default configuration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lrbench.analysis.outcomes import SearchOutcome
from lrbench.analysis.statistics import Interval, PairedTest, holm_tests, paired_estimate, t_interval
from lrbench.results.selection import trial_scores


@dataclass(frozen=True)
class Tuning:
    """The gain from tuning: the default configuration, trial 0, next to the chosen one.

    The validation accuracies are means over the same search runs. `test` is the test
    accuracy of the default. It is None if the default has no final runs. `gain` is the tuned test
    accuracy minus the default's. It is paired by search or seed, and corrected by Holm.
    """

    default_validation: float
    chosen_validation: float
    test: Interval | None = None
    gain: PairedTest | None = None


def gains_from_tuning(
    outcomes: Mapping[str, Sequence[SearchOutcome]], *, by_search: bool, delta: float, needed: int
) -> dict[str, Tuning]:
    """Return the gain from tuning of each scheduler. The correction covers all tests of gains.

    `needed` is the number of searches or seeds that a claim needs.
    """
    pairs = {name: _default_pairs(searches, by_search=by_search) for name, searches in outcomes.items()}
    tested = [name for name, values in pairs.items() if len(values)]
    estimates = [paired_estimate(pairs[name][:, 0] - pairs[name][:, 1]) for name in tested]
    tests = holm_tests(estimates, delta=delta, needed=needed)
    gains = dict(zip(tested, tests, strict=True))
    tuning = {}
    for name, searches in outcomes.items():
        default, chosen = _validation_accuracies(searches)
        tuning[name] = Tuning(
            default_validation=default,
            chosen_validation=chosen,
            test=t_interval(pairs[name][:, 1]) if name in gains else None,
            gain=gains.get(name),
        )
    return tuning


def _validation_accuracies(outcomes: Sequence[SearchOutcome]) -> tuple[float, float]:
    """Return the mean scores of the default and of the chosen configuration in the searches.

    Both are means over the same runs: the search runs of the searches whose default has a score,
    without confirmations. The default's is NaN if there are none.
    """
    scores = [(trial_scores(outcome.search), outcome.choice.trial) for outcome in outcomes if outcome.choice]
    both = [(by_trial[0], by_trial[trial]) for by_trial, trial in scores if 0 in by_trial]
    if not both:
        return math.nan, float(np.mean([by_trial[trial] for by_trial, trial in scores]))
    default, tuned = np.mean(both, axis=0)
    return float(default), float(tuned)


def _default_pairs(outcomes: Sequence[SearchOutcome], *, by_search: bool) -> np.ndarray:
    """Return the tuned and the default test accuracy by search or seed, shape (pairs, 2).

    A search that chose the default has a gain of 0. The result is empty if no default was trained.
    """
    rows: list[Any] = []
    for outcome in outcomes:
        tuned, default = outcome.accuracies, outcome.default_accuracies
        if outcome.choice and outcome.choice.trial == 0 and by_search:
            default = tuned
        shared = [(tuned[seed], default[seed]) for seed in tuned if seed in default]
        rows += [np.mean(shared, axis=0)] if by_search and shared else shared
    is_tested = any(outcome.defaults for outcome in outcomes)
    return np.array(rows) if is_tested else np.empty((0, 2))
