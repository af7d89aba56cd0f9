"""How schedulers compare: the numbers of a report, from results."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lrbench import results, stats
from lrbench.results import TrialResult
from lrbench.spec import ConfigError
from lrbench.stats import MIN_PAIRS, MIN_RANKED, Comparison, Interval, RankTest

BASELINE = "constant"  # where it is there and no other is asked for

Accuracies = Mapping[int, float]  # by seed
Value = float | int | str | bool


@dataclass(frozen=True)
class Trial:
    """A trial that ran to its end: its number, its peak rate, the values that were drawn for it, and its score."""

    number: int
    lr: float
    sampled: Mapping[str, Value]
    score: float


@dataclass(frozen=True)
class Search:
    """What the search of one scheduler was, and what it cost. `tried` are the trials that ran to their end, in order."""

    tried: Sequence[Trial]
    trials: int
    runs: int
    diverged: int
    pruned: int
    epochs: float
    seconds: float


@dataclass(frozen=True)
class Tuning:
    """What tuning was worth: the accuracies of the configuration as it stands in its file, trial 0, and of the chosen one.

    The validation accuracies are the search's, and the chosen one's is the highest of all trials. `test` is there where the
    default configuration had final runs; `gain` is the tuned one's test accuracy minus that, paired by seed and corrected by Holm.
    """

    default_validation: float
    chosen_validation: float
    test: Interval | None = None
    gain: Comparison | None = None


@dataclass(frozen=True)
class Reached:
    """How many of the final runs came to the target, and the median of what they took; inf where half of them did not."""

    runs: int
    of: int
    epochs: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """One scheduler in the ranking, by the final runs of its chosen configuration.

    `ranks` is the range that its rank lies in. `behind` is the best one's accuracy minus its own; `over_baseline` its own minus the
    baseline's, None for the baseline itself. `best_epoch` is there only where the test images were scored more than once a run.
    """

    scheduler: str
    runs: Sequence[TrialResult]
    accuracies: np.ndarray
    mean: Interval
    ranks: tuple[int, int]
    behind: Comparison
    over_baseline: Comparison | None
    best_epoch: Interval | None
    tuning: Tuning
    reached: Reached | None
    search: Search

    @property
    def arguments(self) -> Mapping[str, Value]:
        """The chosen configuration, by config key."""
        return self.runs[0].spec.sampled

    @property
    def trial(self) -> int:
        """The number of the chosen trial."""
        return self.runs[0].spec.trial or 0

    @property
    def diverged(self) -> int:
        """How many of the final runs diverged; they count with chance accuracy."""
        return sum(run.state == "diverged" for run in self.runs)

    @property
    def tied(self) -> bool:
        """Whether the difference from the best may be none, as far as these runs can tell."""
        return not self.behind.claimed


@dataclass(frozen=True)
class Ranking:
    """All schedulers, the best first, and what stands between them.

    `target` is a validation accuracy, None where the final runs held no images out. `ranked` is the test by ranks, None where there are
    too few schedulers or seeds. `unranked` are the schedulers without final runs of their chosen configuration.
    """

    rows: list[Row]
    baseline: str | None
    target: float | None
    ranked: RankTest | None
    unranked: list[str]

    @property
    def pairs(self) -> int:
        """The number of seeds that every two schedulers share, at least."""
        return min(len(row.runs) for row in self.rows) if len(self.rows) < 2 else min(row.behind.pairs for row in self.rows[1:])

    @property
    def claimable(self) -> bool:
        """Whether there are pairs enough to claim anything."""
        return self.pairs >= MIN_PAIRS


def ranking(found: Sequence[TrialResult], baseline: str | None = None, target: float | None = None) -> Ranking:
    """Return how the schedulers compare. Raises ConfigError for a baseline that is not among them, and where there are no final runs."""
    by_phase = _by_scheduler(found)
    chosen = {name: results.chosen_trial(search) for name, (search, _) in by_phase.items()}
    final = {name: _one_a_seed(run for run in runs if run.spec.trial == chosen[name]) for name, (_, runs) in by_phase.items()}
    unranked = [name for name, runs in final.items() if not runs]
    accuracies = {name: _accuracies(runs) for name, runs in final.items() if runs}
    if not accuracies:
        raise ConfigError("no finished final runs to report on; start the sweep again to make them")
    names = sorted(accuracies, key=lambda name: -float(np.mean(list(accuracies[name].values()))))
    if baseline is not None and baseline not in names:
        raise ConfigError(f"--baseline {baseline}: not among the final runs of {', '.join(names)}")
    baseline = baseline or (BASELINE if BASELINE in names else None)
    target = target or _target([final[name] for name in names])
    behind, ranges = pairwise([accuracies[name] for name in names])
    over_baseline = _over(baseline, names, accuracies)
    tuning = _tuning(names, by_phase, accuracies)
    rows = [
        Row(
            scheduler=name,
            runs=final[name],
            accuracies=np.array(list(accuracies[name].values())),
            mean=stats.t_interval(np.array(list(accuracies[name].values()))),
            ranks=ranges[place],
            behind=behind[place],
            over_baseline=over_baseline.get(name),
            best_epoch=_best_epoch(final[name]),
            tuning=tuning[name],
            reached=None if target is None else _reached(final[name], target),
            search=_search(by_phase[name][0]),
        )
        for place, name in enumerate(names)
    ]
    return Ranking(rows, baseline, target, _ranked([accuracies[name] for name in names]), unranked)


def _by_scheduler(found: Iterable[TrialResult]) -> dict[str, tuple[list[TrialResult], list[TrialResult]]]:
    """Return the search and the final runs of each scheduler, in the order of trial and seed."""
    runs: dict[str, tuple[list[TrialResult], list[TrialResult]]] = {}
    for run in sorted(found, key=lambda run: (run.spec.trial or 0, run.spec.seed)):
        runs.setdefault(run.spec.scheduler.name, ([], []))[run.spec.phase == "final"].append(run)
    return runs


def _one_a_seed(runs: Iterable[TrialResult]) -> list[TrialResult]:
    """Return the runs without those that another machine made again."""
    return list({run.spec.seed: run for run in runs}.values())


def _accuracies(runs: Iterable[TrialResult]) -> dict[int, float]:
    return {run.spec.seed: run.last("test/accuracy") for run in runs}


def _differences(mine: Accuracies, others: Accuracies) -> np.ndarray:
    """Return mine minus the others', for the seeds that both have."""
    return np.array([mine[seed] - others[seed] for seed in mine if seed in others])


def pairwise(ordered: Sequence[Accuracies]) -> tuple[list[Comparison], list[tuple[int, int]]]:
    """Return how far each is behind the first, and the ranks that it may have.

    Corrected for all pairs: which one is first is known only after looking, so that comparisons with it alone would claim too much.
    """
    pairs = list(itertools.combinations(range(len(ordered)), 2))
    compared = stats.compared([_differences(ordered[i], ordered[j]) for i, j in pairs])
    better = np.zeros((len(ordered), len(ordered)), dtype=bool)
    for (i, j), one in zip(pairs, compared, strict=True):
        if one.claimed:
            better[(i, j) if one.difference.mean > 0 else (j, i)] = True
    itself = Comparison(Interval(0.0, 0.0, 0.0), 1.0, len(ordered[0]))
    return [itself, *(one for (i, _), one in zip(pairs, compared, strict=True) if i == 0)], stats.rank_ranges(better)


def _over(baseline: str | None, names: Sequence[str], accuracies: Mapping[str, Accuracies]) -> dict[str, Comparison]:
    """Return by how much each of the others is over the baseline."""
    if baseline is None:
        return {}
    others = [name for name in names if name != baseline]
    compared = stats.compared([_differences(accuracies[name], accuracies[baseline]) for name in others])
    return dict(zip(others, compared, strict=True))


def _tuning(
    names: Sequence[str], by_phase: Mapping[str, tuple[list[TrialResult], list[TrialResult]]], accuracies: Mapping[str, Accuracies]
) -> dict[str, Tuning]:
    default = {name: _accuracies(run for run in by_phase[name][1] if run.spec.trial == 0) for name in names}
    known = [name for name in names if default[name] and results.chosen_trial(by_phase[name][0]) != 0]
    gains = stats.compared([_differences(accuracies[name], default[name]) for name in known])
    tests = {name: (stats.t_interval(np.array(list(default[name].values()))), gain) for name, gain in zip(known, gains, strict=True)}
    scores = {name: results.trial_scores(by_phase[name][0]) for name in names}
    return {name: Tuning(scores[name].get(0, float("nan")), max(scores[name].values()), *tests.get(name, ())) for name in names}


def _best_epoch(runs: Sequence[TrialResult]) -> Interval | None:
    values = [best for run in runs if (best := best_test_accuracy(run)) is not None]
    return stats.t_interval(np.array(values)) if len(values) == len(runs) else None


def best_test_accuracy(run: TrialResult) -> float | None:
    """Return the highest test accuracy of a run in which the test images were scored more than once; else None."""
    curve = run.curves.get("test/accuracy")
    return max(curve.values) if curve and len(curve.values) > 1 else None


def _target(final: Sequence[Sequence[TrialResult]]) -> float | None:
    """Return the whole percent below the lowest mean validation accuracy, of the schedulers none of whose runs diverged."""
    sound = [runs for runs in final if all(run.state == "finished" for run in runs)]
    if not sound or not all("val/accuracy" in run.curves for runs in sound for run in runs):
        return None
    lowest = min(float(np.mean([run.last("val/accuracy") for run in runs])) for runs in sound)
    return math.floor(100 * lowest + 1e-9) / 100


def _reached(runs: Sequence[TrialResult], target: float) -> Reached | None:
    """Return when the runs first had the target; None where they were not looked at."""
    if not any("val/accuracy" in run.curves for run in runs):
        return None
    steps = [_first_at(run, target) for run in runs]
    epochs = [step / run.spec.train.steps_per_epoch for step, run in zip(steps, runs, strict=True)]
    seconds = [run.train_seconds * step / run.spec.train.total_steps for step, run in zip(steps, runs, strict=True)]
    return Reached(sum(map(math.isfinite, steps)), len(runs), _median(epochs), _median(seconds))


def _first_at(run: TrialResult, target: float) -> float:
    """Return the step at which a run was first seen to have the target; inf where it never was."""
    curve = run.curves.get("val/accuracy")
    return next((step for step, value in zip(curve.steps, curve.values, strict=True) if value >= target), math.inf) if curve else math.inf


def _median(values: Sequence[float]) -> float:
    """Return the median; inf where as many are.

    >>> _median([1.0, 3.0, 8.0, math.inf]), _median([1.0, math.inf])
    (5.5, inf)
    """
    low, high = sorted(values)[(len(values) - 1) // 2], sorted(values)[len(values) // 2]
    return (low + high) / 2


def _search(runs: Sequence[TrialResult]) -> Search:
    specs = {run.spec.trial or 0: run.spec for run in runs}
    scores = results.trial_scores(runs)
    return Search(
        tried=[Trial(number, specs[number].optimizer.lr, specs[number].sampled, score) for number, score in scores.items()],
        trials=len({run.spec.trial for run in runs}),
        runs=len(runs),
        diverged=sum(run.state == "diverged" for run in runs),
        pruned=sum(run.state == "pruned" for run in runs),
        epochs=sum(steps(run) / run.spec.train.steps_per_epoch for run in runs),
        seconds=sum(run.train_seconds + run.eval_seconds for run in runs),
    )


def steps(run: TrialResult) -> int:
    """Return the number of optimizer steps that a run made: fewer than it was to make where it diverged or was pruned."""
    return run.curves["lr"].steps[-1] + 1 if "lr" in run.curves else 0


def _ranked(ordered: Sequence[Accuracies]) -> RankTest | None:
    """Return the test by ranks over the seeds that all have; None for fewer than MIN_RANKED schedulers or MIN_PAIRS seeds."""
    shared = [seed for seed in ordered[0] if all(seed in one for one in ordered)]
    if len(ordered) < MIN_RANKED or len(shared) < MIN_PAIRS:
        return None
    return stats.friedman_nemenyi(np.array([[one[seed] for one in ordered] for seed in shared]))
