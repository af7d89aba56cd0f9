"""The outcome of each search: its choice, and the test runs of the chosen configuration."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lrbench.results.result import TrialResult
from lrbench.results.selection import Choice, choose
from lrbench.spec import NEIGHBOURS, Phase, Value

Accuracies = Mapping[int, float]  # by seed


@dataclass(frozen=True)
class SearchOutcome:
    """One search of a scheduler.

    `search` and `confirmation` are its validation runs. `finals` are the final runs of the chosen
    trial, one per seed. `defaults` are the final runs of the default configuration. They are empty
    if it was chosen.
    `half_rate` and `double_rate` are the runs at half and at twice the chosen peak rate.
    """

    scheduler: str
    number: int
    search: Sequence[TrialResult]
    confirmation: Sequence[TrialResult]
    choice: Choice | None
    finals: Sequence[TrialResult]
    defaults: Sequence[TrialResult]
    half_rate: Sequence[TrialResult]
    double_rate: Sequence[TrialResult]

    @property
    def accuracies(self) -> dict[int, float]:
        """The test accuracies of the final runs by seed. A diverged run has chance accuracy."""
        return {run.spec.seed: run.last("test/accuracy") for run in self.finals}

    @property
    def default_accuracies(self) -> dict[int, float]:
        """The test accuracies of the default configuration by seed."""
        return {run.spec.seed: run.last("test/accuracy") for run in self.defaults}

    @property
    def mean(self) -> float:
        """The mean test accuracy of the final runs."""
        return float(np.mean(list(self.accuracies.values())))

    @property
    def arguments(self) -> Mapping[str, Value]:
        """The chosen configuration, by config key."""
        return self.finals[0].spec.sampled


def outcomes_of(results: Iterable[TrialResult], confirm: int = 0) -> dict[str, list[SearchOutcome]]:
    """Return the outcomes of each scheduler's searches, in the order of their numbers.

    `confirm` is the setting of the sweep. The runs of earlier choices are left out.
    """
    groups: dict[str, dict[int, dict[Phase, list[TrialResult]]]] = {}
    for run in results:
        spec = run.spec
        groups.setdefault(spec.scheduler.name, {}).setdefault(spec.search, {}).setdefault(spec.phase, []).append(run)
    return {
        name: [_outcome(name, number, runs, confirm) for number, runs in sorted(searches.items())]
        for name, searches in groups.items()
    }


def _outcome(name: str, number: int, by_phase: Mapping[Phase, Sequence[TrialResult]], confirm: int) -> SearchOutcome:
    search, confirmation = (_ordered(by_phase.get(phase, ())) for phase in ("search", "confirm"))
    choice = choose(search, confirmation, confirm)
    finals = _ordered(by_phase.get("final", ()))
    trial = choice.trial if choice else None
    chosen = [run for run in finals if run.spec.trial == trial]
    rate = chosen[0].spec.optimizer.lr if chosen else 0.0
    half, double = (
        [run for run in by_phase.get(phase, ()) if run.spec.trial == trial and run.spec.optimizer.lr == factor * rate]
        for phase, factor in NEIGHBOURS.items()
    )
    return SearchOutcome(
        scheduler=name,
        number=number,
        search=search,
        confirmation=confirmation,
        choice=choice,
        finals=_latest(chosen),
        defaults=[] if trial == 0 else _latest([run for run in finals if run.spec.trial == 0]),
        half_rate=_latest(half),
        double_rate=_latest(double),
    )


def _ordered(runs: Iterable[TrialResult]) -> list[TrialResult]:
    return sorted(runs, key=lambda run: (run.spec.trial_number, run.spec.seed))


def _latest(runs: Iterable[TrialResult]) -> list[TrialResult]:
    """Return one run per seed: another machine may have repeated a run, and the latest counts."""
    return list({run.spec.seed: run for run in runs}.values())
