"""One search of a scheduler in a sweep: its trials, then the final runs of its choice."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from lrbench.config.compose import parse_spec
from lrbench.orchestration.plan import Plan, SweepSettings, for_final_runs, study_name
from lrbench.orchestration.time_budget import Allowance
from lrbench.results.result import TrialResult
from lrbench.results.selection import best_trials, choose
from lrbench.search.study import PruningMonitor, Study
from lrbench.spec import NEIGHBOURS, PEAK_RATE, DeviceInfo, TrialSpec, Value


class SearchPipeline:
    """Hands out the runs of a search that may start, and takes in their results.

    `number` is the number of the search in the sweep. The study is told the scores in the order of
    the trials, so the sweep samples the same trials in every order in which runs end. A trial with
    the same values as an earlier one is not trained: it shares the earlier trial's results.
    """

    def __init__(
        self,
        cfg: DictConfig,
        settings: SweepSettings,
        device: DeviceInfo,
        concurrency: int,
        study: Study,
        allowance: Allowance | None = None,
        number: int = 0,
    ) -> None:
        self.cfg, self.study, self.number = cfg, study, number
        self._allowance = allowance or Allowance(settings.n_trials, settings.final_seeds)
        self._settings, self._device, self._concurrency = settings, device, concurrency
        self._values: list[dict[str, Value]] = []  # of each trial that was asked
        self._first_with_values: dict[tuple[tuple[str, Value], ...], int] = {}
        self._results: dict[int, dict[int, TrialResult | None]] = {}  # by trial and seed; None for a failed run
        self._n_told = 0  # trials whose scores the study has
        self._confirmed: list[int] | None = None  # the trials that are trained again, once the search is over
        self._confirmations: dict[tuple[int, int], TrialResult | None] = {}  # by trial and seed, as above
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
        if self._allowance.search_is_over and self._confirmed is None and self._has_searched():
            confirmations, skipped = self._ready_confirmations()
            specs += confirmations
            skipped_steps += skipped
        if self._has_confirmed() and self._n_final_seeds < self._allowance.seeds:
            finals, skipped = self._ready_finals()
            specs += finals
            skipped_steps += skipped
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

    def _ready_confirmations(self) -> tuple[list[TrialSpec], list[int]]:
        """Return the runs that confirm the best trials, and the lengths of those not needed."""
        trials = best_trials(self._complete_search(), self._settings.confirmed_trials)
        self._confirmed = trials if len(trials) > 1 else []
        seeds = self._settings.confirmation_seeds(self.number)
        specs = [self._spec(self.cfg, trial, seed=seed, phase="confirm") for trial in self._confirmed for seed in seeds]
        planned = self._settings.confirmed_trials * len(seeds)
        steps = parse_spec(self.cfg).train.total_steps
        return specs, [steps] * (planned - len(specs))

    def _ready_finals(self) -> tuple[list[TrialSpec], list[int]]:
        """Return the final runs with further seeds, and the lengths of those not needed."""
        seeds = self._settings.final_seed_range(self.number)[self._n_final_seeds : self._allowance.seeds]
        planned = len(seeds) * self._settings.final_runs_per_seed
        finals = self._finals(seeds)
        if self._n_final_seeds == 0:
            planned += self._settings.neighbour_runs
            finals += self._neighbours(seeds[0])
        self._n_final_seeds = self._allowance.seeds
        steps = parse_spec(for_final_runs(self.cfg, self._settings)).train.total_steps
        return finals, [steps] * (planned - len(finals))

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

    def _has_confirmed(self) -> bool:
        """Return True if the search is over, and its best trials are confirmed."""
        if self._confirmed is None:
            return False
        n_seeds = len(self._settings.confirmation_seeds(self.number))
        return len(self._confirmations) == len(self._confirmed) * n_seeds

    def record_result(self, spec: TrialSpec, result: TrialResult | None) -> None:
        """Record how a run ended, None if it failed."""
        if spec.phase == "search":
            self._results[spec.trial_number][spec.seed] = result
        elif spec.phase == "confirm":
            self._confirmations[spec.trial_number, spec.seed] = result

    def pruning_monitor(self, spec: TrialSpec) -> PruningMonitor | None:
        """Return the pruning callback of a run, None if the run is never pruned."""
        if spec.phase != "search" or not self._settings.prunes:
            return None
        finished = max(0, spec.trial_number - self._settings.pending_trials + 1)
        return self.study.pruning_monitor(self._settings.pruner, finished)

    def best(self) -> TrialResult | None:
        """Return a search run of the chosen trial, None if every trial failed or was pruned."""
        search = self._complete_search()
        choice = choose(search, self._complete_confirmations(), self._settings.confirmed_trials)
        return None if choice is None else next(run for run in search if run.spec.trial == choice.trial)

    def _complete_search(self) -> list[TrialResult]:
        """Return the search runs of the trials without a failed run."""
        return [run for trial in self._results for run in self._complete_runs(trial)]

    def _complete_runs(self, trial: int) -> list[TrialResult]:
        """Return the runs of a trial in the order of their seeds, none if one of them failed."""
        runs = [run for _, run in sorted(self._results[trial].items())]
        complete = [run for run in runs if run is not None]
        return complete if len(complete) == len(runs) else []

    def _complete_confirmations(self) -> Iterable[TrialResult]:
        return [run for run in self._confirmations.values() if run is not None]

    def _ask(self) -> list[TrialSpec]:
        """Sample the next trial, and return its runs."""
        number = len(self._values)
        self._values.append(self.study.ask(number, self._n_told))
        self._first_with_values.setdefault(tuple(self._values[number].items()), number)
        seeds = self._settings.trial_seeds(self.number)
        return [self._spec(self.cfg, number, seed=seed, phase="search") for seed in seeds]

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

    def _neighbours(self, seed: int) -> list[TrialSpec]:
        """Return the runs of the chosen trial at other peak rates, for `final_neighbours`."""
        best, cfg = self.best(), for_final_runs(self.cfg, self._settings)
        if best is None or not self._settings.final_neighbours:
            return []
        trial, rate = best.spec.trial_number, best.spec.optimizer.lr
        values = self._values[trial]
        return [
            self._spec(cfg, trial, values | {PEAK_RATE: factor * rate}, seed=seed, phase=phase)
            for phase, factor in NEIGHBOURS.items()
        ]

    def _spec(self, cfg: DictConfig, trial: int, values: Mapping[str, Value] | None = None, **labels: Any) -> TrialSpec:
        values = self._values[trial] if values is None else values
        spec = parse_spec(cfg, values, search=self.number, trial=trial, **labels)
        return spec.resolved(self._device, self._concurrency)


def make_pipelines(
    plan: Plan,
    device: DeviceInfo,
    concurrency: int,
    studies: Mapping[str, Study],
    allowance: Allowance | None = None,
) -> Sequence[SearchPipeline]:
    """Return the pipelines of a sweep: the first search of each scheduler, then the second, …"""
    return [
        SearchPipeline(cfg, plan.settings, device, concurrency, studies[study_name(name, number)], allowance, number)
        for number in range(plan.settings.searches)
        for name, cfg in plan.configs.items()
    ]
