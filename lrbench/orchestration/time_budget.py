"""How many trials and final seeds each scheduler of a sweep gets, if the sweep has a time limit."""

import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lrbench.results.result import TrialResult
from lrbench.spec import TrialSpec
from lrbench.text import counted

REPORT_SECONDS = 10.0  # reserved for the report and for MLflow
MARGIN = 1.05  # times the estimated time of the runs


@dataclass
class Allowance:
    """What every scheduler may do now: its first `trials` trials and its first `seeds` final seeds.

    Final runs begin when `search_is_over`.
    """

    trials: int
    seeds: int
    search_is_over: bool = True


@dataclass(frozen=True)
class RunCounts:
    """The size of a sweep.

    A round has a trial, or the final runs of a seed, of each search of each scheduler. `trials` and
    `seeds` are the largest numbers of rounds. `search_runs` and `final_runs` are the runs of a
    round. The search ends with `confirmation_runs`, and the first final round has `neighbour_runs`
    too. `search_steps` and `final_steps` are the optimizer steps of a run.
    """

    trials: int
    seeds: int
    search_runs: int
    confirmation_runs: int
    final_runs: int
    neighbour_runs: int
    search_steps: int
    final_steps: int


class TimeBudget:
    """Extends the allowance of a sweep, round by round, while the estimated time fits.

    All schedulers get the same numbers of trials and final seeds, at least one of each. The search
    ends early enough for the final runs of all seeds. If they take longer than expected, later
    seeds are left out. The trials and seeds of earlier starts are allowed. `final_place` returns
    the place of a final run's seed among the seeds of its search, from 0.
    """

    def __init__(
        self,
        counts: RunCounts,
        minutes: float,
        concurrency: int,
        finished: Iterable[TrialResult],
        final_place: Callable[[TrialSpec], int],
        clock: Callable[[], float] = time.monotonic,
        started: float | None = None,
    ) -> None:
        self._counts, self.concurrency, self._clock = counts, concurrency, clock
        self._started = clock() if started is None else started
        self._seconds = 60 * minutes
        self._speeds: list[float] = []  # seconds a step of each run
        trials, seeds = 1, 1
        for result in finished:
            self.add(result)
            if result.spec.phase == "search":
                trials = max(trials, result.spec.trial_number + 1)
            elif result.spec.phase == "final":
                seeds = max(seeds, final_place(result.spec) + 1)
        self._runs_before = len(self._speeds)
        self.allowance = Allowance(min(trials, counts.trials), min(seeds, counts.seeds), search_is_over=False)

    def add(self, result: TrialResult) -> None:
        """Learn the speed from a run."""
        if result.steps_trained:  # a pruned run has made fewer than planned
            self._speeds.append((result.train_seconds + result.eval_seconds) / result.steps_trained)

    def extend(self, running: int) -> bool:
        """Allow another round if it fits. Return False if nothing more is allowed now.

        `running` is the number of runs that have not ended. All allowed runs have been started.
        """
        allowance, counts = self.allowance, self._counts
        if not allowance.search_is_over:
            if not self._speeds and running:
                return False  # nothing is known about the speed yet
            search = self._estimate(running + counts.search_runs + counts.confirmation_runs, counts.search_steps)
            finals = self._estimate(counts.seeds * counts.final_runs + counts.neighbour_runs, counts.final_steps)
            if allowance.trials == counts.trials:
                allowance.search_is_over = True
            elif self._fits(search + finals):
                allowance.trials += 1
            elif self._may_be_faster():
                if running:
                    return False
                allowance.trials += 1
            else:
                allowance.search_is_over = True
            return True
        if allowance.seeds < counts.seeds and self._fits(
            self._estimate(running + counts.final_runs, counts.final_steps)
        ):
            allowance.seeds += 1
            return True
        return False

    def skipped_search_steps(self) -> list[int]:
        """Return the steps of each search run that the allowance leaves out."""
        skipped_trials = self._counts.trials - self.allowance.trials
        return [self._counts.search_steps] * self._counts.search_runs * skipped_trials

    def left_out(self) -> str | None:
        """Return what the time did not allow, in words, None if everything was done."""
        allowance, counts = self.allowance, self._counts
        if (allowance.trials, allowance.seeds) == (counts.trials, counts.seeds):
            return None
        return (
            f"{allowance.trials} of {counted(counts.trials, 'trial')} and "
            f"{allowance.seeds} of {counted(counts.seeds, 'final seed')} for each scheduler"
        )

    def _estimate(self, runs: int, steps: int) -> float:
        """Return the seconds of some runs, which train in waves of `concurrency` runs."""
        speed = statistics.median(self._speeds) if self._speeds else 0.0
        return MARGIN * math.ceil(runs / self.concurrency) * steps * speed

    def _fits(self, seconds: float) -> bool:
        return self._clock() + seconds + REPORT_SECONDS <= self._started + self._seconds

    def _may_be_faster(self) -> bool:
        """Return True while all known runs were the first ones of their workers.

        Such a run also compiles and warms up, so the next run may be faster.
        """
        known = len(self._speeds) - self._runs_before
        return known <= self.concurrency and self._clock() - self._started < self._seconds / 2
