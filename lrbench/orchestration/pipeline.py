"""One scheduler in a sweep: its search, then the final runs of the chosen configuration."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from lrbench.config.compose import parse_spec
from lrbench.orchestration.plan import SweepSettings, for_final_runs
from lrbench.orchestration.time_budget import Allowance
from lrbench.results.result import TrialResult
from lrbench.results.selection import chosen_trial
from lrbench.search.study import PruningMonitor, Study
from lrbench.spec import DeviceInfo, TrialSpec, Value


class SchedulerPipeline:
    """Hands out the runs of a scheduler that may start, and takes in their results.

    The study is told the scores in the order of the trials, so the sweep samples the same trials in
    every order in which runs end. A trial with the same values as an earlier one is not trained: it
    shares the earlier trial's results.
    """

    def __init__(
        self,
        cfg: DictConfig,
        settings: SweepSettings,
        device: DeviceInfo,
        concurrency: int,
        study: Study,
        allowance: Allowance | None = None,
    ) -> None:
        self.cfg, self.study = cfg, study
        self._allowance = allowance or Allowance(settings.n_trials, settings.final_seeds)
        self._settings, self._device, self._concurrency = settings, device, concurrency
        self._values: list[dict[str, Value]] = []  # of each trial that was asked
        self._first_with_values: dict[tuple[tuple[str, Value], ...], int] = {}
        self._results: dict[int, dict[int, TrialResult | None]] = {}  # by trial and seed; None for a failed run
        self._n_told = 0  # trials whose scores the study has
        self._n_final_seeds = 0  # whose final runs have been handed out

    @property
    def name(self) -> str:
        """The name of the scheduler."""
        return str(self.cfg.scheduler.name)

    def ready(self) -> tuple[list[TrialSpec], list[int]]:
        """Return the runs that may start now, each once.

        Also returns the lengths in steps of planned runs that turn out not to be needed.
        """
        specs, skipped_steps = self._ready_trials()
        allowance = self._allowance
        if allowance.search_is_over and self._has_searched() and self._n_final_seeds < allowance.seeds:
            seeds = self._settings.final_seed_range[self._n_final_seeds : allowance.seeds]
            finals = self._finals(seeds)
            final_steps = parse_spec(for_final_runs(self.cfg, self._settings)).train.total_steps
            skipped_steps += [final_steps] * (len(seeds) * self._settings.final_runs_per_seed - len(finals))
            specs += finals
            self._n_final_seeds = allowance.seeds
        return specs, skipped_steps

    def _ready_trials(self) -> tuple[list[TrialSpec], list[int]]:
        """Tell the study the scores that are ready, and ask it for the trials that may start.

        A trial is asked for as soon as the scores that it may depend on are told. So the allowance
        changes the number of trials, and not their values.
        """
        specs: list[TrialSpec] = []
        skipped_steps: list[int] = []
        while True:
            wanted = min(self._settings.n_trials, self._n_told + self._settings.pending_trials)
            if len(self._values) < min(wanted, self._allowance.trials):
                number, runs = len(self._values), self._ask()
                if self._same_as(number) < number:
                    skipped_steps += [spec.train.total_steps for spec in runs]
                else:
                    self._results[number] = {}
                    specs += runs
            elif len(self._values) == wanted and self._n_told < wanted and self._is_finished(self._n_told):
                self._tell(self._n_told)
                self._n_told += 1
            else:
                return specs, skipped_steps

    @property
    def has_used_allowance(self) -> bool:
        """True if all allowed trials and final runs have been handed out."""
        allowance = self._allowance
        finals = self._n_final_seeds == allowance.seeds or not allowance.search_is_over
        return finals and len(self._values) == allowance.trials

    def _has_searched(self) -> bool:
        """Return True if all allowed trials are finished."""
        is_asked = len(self._values) == self._allowance.trials
        return is_asked and all(map(self._is_finished, range(len(self._values))))

    def record_result(self, spec: TrialSpec, result: TrialResult | None) -> None:
        """Record how a run ended, None if it failed."""
        if spec.phase == "search":
            assert spec.trial is not None
            self._results[spec.trial][spec.seed] = result

    def pruning_monitor(self, spec: TrialSpec) -> PruningMonitor | None:
        """Return the pruning callback of a run, None if the run is never pruned."""
        if spec.phase == "final" or not self._settings.prunes:
            return None
        assert spec.trial is not None
        return self.study.pruning_monitor(self._settings.pruner, max(0, spec.trial - self._settings.pending_trials + 1))

    def best(self) -> TrialResult | None:
        """Return a run of the trial with the highest score.

        If several trials share the highest score, it is the first. Returns None if every trial
        failed or was pruned.
        """
        complete = [run for trial in self._results for run in self._complete_runs(trial)]
        chosen = chosen_trial(complete)
        return None if chosen is None else next(run for run in complete if run.spec.trial == chosen)

    def _complete_runs(self, trial: int) -> list[TrialResult]:
        """Return the runs of a trial in the order of their seeds, none if one of them failed."""
        runs = [run for _, run in sorted(self._results[trial].items())]
        complete = [run for run in runs if run is not None]
        return complete if len(complete) == len(runs) else []

    def _ask(self) -> list[TrialSpec]:
        """Sample the next trial, and return its runs."""
        number = len(self._values)
        self._values.append(self.study.ask(number))
        self._first_with_values.setdefault(tuple(self._values[number].items()), number)
        return [self._spec(self.cfg, number, seed=seed, phase="search") for seed in self._settings.search_seed_range]

    def _same_as(self, number: int) -> int:
        """Return the first trial with the same values as this one."""
        return self._first_with_values[tuple(self._values[number].items())]

    def _is_finished(self, number: int) -> bool:
        return len(self._results[self._same_as(number)]) == self._settings.search_seeds

    def _tell(self, number: int) -> None:
        runs = self._complete_runs(self._same_as(number))
        if not runs:
            self.study.tell(number, None)
            return
        score = sum(run.last("val/accuracy") for run in runs) / len(runs)
        pruned = any(run.state == "pruned" for run in runs)
        curve = runs[0].curves.get("val/accuracy") if self._settings.prunes else None
        self.study.tell(number, score, pruned=pruned, evaluations=curve.values if curve else ())

    def _finals(self, seeds: range) -> list[TrialSpec]:
        """Return the final runs of the chosen trial, and of trial 0 for `final_default`."""
        best, cfg = self.best(), for_final_runs(self.cfg, self._settings)
        if best is None:
            return []
        chosen = best.spec.trial_number
        trials = dict.fromkeys([chosen, 0] if self._settings.final_default else [chosen])
        return [self._spec(cfg, trial, seed=seed, phase="final") for trial in trials for seed in seeds]

    def _spec(self, cfg: DictConfig, trial: int, **labels: Any) -> TrialSpec:
        values: Mapping[str, Value] = self._values[trial]
        return parse_spec(cfg, values, trial=trial, **labels).resolved(self._device, self._concurrency)
