"""One scheduler on its way through a sweep: its search, then the final runs of what the search chose."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from lrbench import config, plan, results, search
from lrbench.plan import Settings
from lrbench.results import TrialResult
from lrbench.search import Value
from lrbench.spec import Machine, TrialSpec


@dataclass
class Contender:
    """Hands out the runs of a scheduler that may start, and takes in their results.

    Results are told to the study in the order of their trials, so that the same sweep asks for the same trials whatever ends first.
    A trial that repeats the values of an earlier one is not trained: it has that one's results.
    """

    cfg: DictConfig
    settings: Settings
    machine: Machine
    runs_at_once: int
    study: search.Study
    told: int = 0
    spared: list[int] = field(default_factory=list)  # the steps of runs that the plan counts and that are not needed
    _values: list[dict[str, Value]] = field(default_factory=list)  # of each trial that was asked
    _first: dict[tuple[tuple[str, Value], ...], int] = field(default_factory=dict)  # values to the first trial that has them
    _ended: dict[int, dict[int, TrialResult | None]] = field(default_factory=dict)  # by trial and seed; None for a run that failed
    _finals_started: bool = False

    def ready(self) -> list[TrialSpec]:
        """Return the runs that may start now and have not been handed out."""
        specs = []
        while True:
            if len(self._values) < self.settings.n_trials and len(self._values) - self.told < self.settings.pending_trials:
                specs += self._trial(len(self._values))
            elif self.told < len(self._values) and len(self._ended[self._first_alike(self.told)]) == self.settings.search_seeds:
                self._tell(self.told)
                self.told += 1
            else:
                break
        if self.told == self.settings.n_trials and not self._finals_started:
            self._finals_started = True
            specs += self._finals()
        return specs

    def take(self, spec: TrialSpec, result: TrialResult | None) -> None:
        """Take in how a run ended; None where it failed."""
        if spec.phase == "search":
            assert spec.trial is not None
            self._ended[spec.trial][spec.seed] = result

    def watch(self, spec: TrialSpec) -> search.Watch | None:
        """Return what decides at each evaluation whether a run goes on; None where nothing does."""
        if spec.phase == "final" or self.settings.pruner["name"] == "none":
            return None
        assert spec.trial is not None
        return self.study.watch(self.settings.pruner, max(0, spec.trial - self.settings.pending_trials + 1))

    def best(self) -> TrialResult | None:
        """Return a run of the trial with the highest mean validation accuracy, the first of several; None where all failed."""
        complete = [run for runs in self._ended.values() if None not in runs.values() for run in runs.values() if run is not None]
        trial = results.chosen_trial(complete)
        return None if trial is None else next(run for run in complete if run.spec.trial == trial)

    def _trial(self, number: int) -> list[TrialSpec]:
        self._values.append(self.study.ask(number))
        self._first.setdefault(tuple(self._values[number].items()), number)
        specs = [self._spec(self.cfg, number, seed=seed, phase="search") for seed in self.settings.seeds_of_search]
        if self._first_alike(number) < number:
            self.spared += [spec.train.total_steps for spec in specs]
            return []
        self._ended[number] = {}
        return specs

    def _first_alike(self, number: int) -> int:
        return self._first[tuple(self._values[number].items())]

    def _tell(self, number: int) -> None:
        runs = [run for _, run in sorted(self._ended[self._first_alike(number)].items())]
        complete = [run for run in runs if run is not None]
        accuracy = sum(run.last("val/accuracy") for run in complete) / len(complete) if len(complete) == len(runs) else None
        pruned = any(run.state == "pruned" for run in complete)
        curve = complete[0].curves.get("val/accuracy") if complete and self.settings.pruner["name"] != "none" else None
        self.study.tell(number, accuracy, pruned=pruned, evaluations=curve.values if curve else ())

    def _finals(self) -> list[TrialSpec]:
        """Return the final runs of the chosen trial, and of the configuration as it stands where that is wanted and another."""
        best, cfg, seeds = self.best(), plan.for_final_runs(self.cfg, self.settings), self.settings.seeds_of_finals
        chosen = [] if best is None else [best.spec.trial or 0]
        trials = list(dict.fromkeys([*chosen, 0] if self.settings.final_default and chosen else chosen))
        missing = len(seeds) * (1 + self.settings.final_default - len(trials))
        self.spared += [config.parse(cfg).train.total_steps] * missing
        return [self._spec(cfg, trial, seed=seed, phase="final") for trial in trials for seed in seeds]

    def _spec(self, cfg: DictConfig, trial: int, **labels: Any) -> TrialSpec:
        values: Mapping[str, Value] = self._values[trial]
        return config.parse(cfg, values, trial=trial, **labels).settled(self.machine, self.runs_at_once)
