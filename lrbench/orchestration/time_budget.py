"""How many trials and final seeds each scheduler of a sweep gets, if the sweep has a time limit."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lrbench.results.result import TrialResult
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

    A round has a trial, or the final runs of a seed, of each scheduler. `trials` and `seeds` are
    the largest numbers of rounds. `search_runs` and `final_runs` are the runs of a round.
    `search_steps` and `final_steps` are the optimizer steps of a run.
    """

    trials: int
    seeds: int
    search_runs: int
    final_runs: int
    search_steps: int
    final_steps: int

    @property
    def search_round(self) -> int:
        """The steps of a round of trials."""
        return self.search_runs * self.search_steps

    @property
    def final_round(self) -> int:
        """The steps of a round of final runs."""
        return self.final_runs * self.final_steps


class TimeBudget:
    """Extends the allowance of a sweep, round by round, while the estimated time fits.

    All schedulers get the same numbers of trials and final seeds, at least one of each. The search
    ends early enough for the final runs of all seeds. If they take longer than expected, later
    seeds are left out. Results of earlier starts take no time, and their trials are allowed.
    """

    def __init__(
        self,
        counts: RunCounts,
        deadline: float,
        concurrency: int,
        finished: Iterable[TrialResult],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts, self._deadline, self.concurrency, self._clock = counts, deadline, concurrency, clock
        self._seconds, self._steps, searched = 0.0, 0, 1
        for result in finished:
            self.add(result)
            if result.spec.phase == "search":
                searched = max(searched, result.spec.trial_number + 1)
        self.allowance = Allowance(min(searched, counts.trials), 1, search_is_over=False)

    def add(self, result: TrialResult) -> None:
        """Learn the speed from a run."""
        self._seconds += result.train_seconds + result.eval_seconds
        self._steps += result.spec.train.total_steps

    def extend(self, steps_running: int) -> bool:
        """Allow another round if it fits. Return False if nothing more is allowed.

        `steps_running` are the steps of the runs that have not ended yet.
        """
        allowance, counts = self.allowance, self._counts
        if not allowance.search_is_over:
            if not self._steps and steps_running:
                return False  # nothing is known about the speed yet
            round_steps = counts.search_round + counts.seeds * counts.final_round
            if allowance.trials < counts.trials and self._fits(steps_running + round_steps):
                allowance.trials += 1
            else:
                allowance.search_is_over = True
            return True
        if allowance.seeds < counts.seeds and self._fits(steps_running + counts.final_round):
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

    def _fits(self, steps: int) -> bool:
        seconds = MARGIN * steps * self._seconds / self._steps / self.concurrency if self._steps else 0.0
        return self._clock() + seconds + REPORT_SECONDS <= self._deadline
