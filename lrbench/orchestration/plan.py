"""The checked plan of a sweep: its settings, and the config and search space of each scheduler."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from lrbench.config.compose import load_config, parse_spec
from lrbench.config.paths import data_root
from lrbench.config.schedulers import for_each_scheduler, load_each, scheduler_names, without_scheduler_keys
from lrbench.config.targets import check_targets
from lrbench.executors.executor import Executor, Workspace, build_executor
from lrbench.orchestration.time_budget import RunCounts
from lrbench.results.result import TrialResult
from lrbench.search.components import build_pruner, build_sampler
from lrbench.search.journal import open_journal
from lrbench.search.space import Space, search_space
from lrbench.search.startup import spread_points
from lrbench.search.study import Study
from lrbench.spec import NEIGHBOURS, ConfigError, DeviceInfo, PlainData, TrialSpec, Value, validated
from lrbench.text import Log

MINUTES_THAT_PAY = 10.0  # for torch.compile: each worker compiles for about a minute
SEEDS_PER_SEARCH = 2000  # a search is what a sweep with a seed so much higher would do
MAX_NAME = 200  # bytes; file systems refuse more than 255, and some files have the name and more
FIRST_FINAL_SEED = 1000  # the final seeds of a search begin this far above its first seed


class ReportSettings(PlainData):
    """The keys of a report. `delta` is a difference of accuracy that does not matter."""

    delta: Annotated[float, Field(gt=0, lt=1)]


class SweepSettings(PlainData):
    """The keys of conf/sweep.yaml that are not about a single run.

    A sweep has `searches` independent searches of `n_trials` trials for each scheduler. Each search
    has its own seeds, which are the same for all schedulers.
    """

    name: str
    schedulers: list[str]
    searches: PositiveInt
    n_trials: PositiveInt
    startup_trials: PositiveInt
    search_seeds: PositiveInt
    confirm: NonNegativeInt
    final_seeds: PositiveInt
    final_default: bool
    final_neighbours: bool
    final_train_images: PositiveInt | None
    pending_trials: PositiveInt
    minutes: PositiveFloat | None
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    executor: dict[str, Any]
    report: ReportSettings
    seed: NonNegativeInt

    def first_seed(self, search: int) -> int:
        """Return the seed of a search. Its sampler and its runs derive their seeds from it."""
        return self.seed + SEEDS_PER_SEARCH * search

    def trial_seeds(self, search: int) -> range:
        """Return the seeds with which every trial of a search is trained."""
        return range(self.first_seed(search), self.first_seed(search) + self.search_seeds)

    def confirmation_seeds(self, search: int) -> range:
        """Return the further seeds with which the best trials of a search are trained."""
        first = self.trial_seeds(search).stop
        return range(first, first + self.search_seeds)

    def final_seed_range(self, search: int) -> range:
        """Return the seeds of the final runs after a search, which no search uses."""
        first = self.first_seed(search) + FIRST_FINAL_SEED
        return range(first, first + self.final_seeds)

    def final_place(self, spec: TrialSpec) -> int:
        """Return the place of a final run's seed among the final seeds of its search, from 0."""
        return spec.seed - self.final_seed_range(spec.search).start

    @property
    def confirmed_trials(self) -> int:
        """The number of trials of a search that are trained again, if enough have a score."""
        return min(self.confirm, self.n_trials) if self.n_trials > 1 else 0

    @property
    def final_runs_per_seed(self) -> int:
        """The number of final runs of a search with one seed, if its default is not the best."""
        return 2 if self.final_default else 1

    @property
    def neighbour_runs(self) -> int:
        """The number of runs of a search at half and at twice the chosen peak rate."""
        return len(NEIGHBOURS) if self.final_neighbours else 0

    @property
    def prunes(self) -> bool:
        """True if a pruner may stop runs of the search."""
        return bool(self.pruner["name"] != "none")


@dataclass(frozen=True)
class Plan:
    """A sweep as its config describes it."""

    settings: SweepSettings
    configs: dict[str, DictConfig]
    spaces: dict[str, Space]

    @property
    def shared(self) -> DictConfig:
        """The config of one scheduler. Use only its keys that all schedulers share."""
        return self.configs[self.settings.schedulers[0]]

    @property
    def folder(self) -> Path:
        """The folder of the sweep's results."""
        return Path(self.shared.out) / self.settings.name

    @property
    def trials(self) -> Path:
        """The folder of the result files, one for each finished run."""
        return self.folder / "trials"

    @property
    def n_searches(self) -> int:
        """The number of searches of all schedulers."""
        return len(self.settings.schedulers) * self.settings.searches

    @property
    def search_runs(self) -> int:
        """The number of search runs. Trials that repeat each other make it smaller."""
        settings = self.settings
        return self.n_searches * (settings.n_trials + settings.confirmed_trials) * settings.search_seeds

    @property
    def final_runs(self) -> int:
        """The number of test runs. It is smaller if the default configuration is the best."""
        settings = self.settings
        return self.n_searches * (settings.final_seeds * settings.final_runs_per_seed + settings.neighbour_runs)

    @property
    def runs(self) -> int:
        """The number of runs of the whole sweep."""
        return self.search_runs + self.final_runs

    @property
    def run_steps(self) -> tuple[int, int]:
        """The optimizer steps of a search run and of a final run."""
        search, final = self.search_and_final()
        return parse_spec(search).train.total_steps, parse_spec(final).train.total_steps

    @property
    def steps(self) -> int:
        """The number of optimizer steps of the whole sweep."""
        search_steps, final_steps = self.run_steps
        return self.search_runs * search_steps + self.final_runs * final_steps

    def run_counts(self) -> RunCounts:
        """Return the size of the sweep for a time budget."""
        (search, final), settings = self.run_steps, self.settings
        return RunCounts(
            trials=settings.n_trials,
            seeds=settings.final_seeds,
            search_runs=self.n_searches * settings.search_seeds,
            confirmation_runs=self.n_searches * settings.confirmed_trials * settings.search_seeds,
            final_runs=self.n_searches * settings.final_runs_per_seed,
            neighbour_runs=self.n_searches * settings.neighbour_runs,
            search_steps=search,
            final_steps=final,
        )

    def search_and_final(self) -> tuple[DictConfig, DictConfig]:
        """Return the configs of a search run and of a final run of the first scheduler."""
        search, final = self.shared.copy(), for_final_runs(self.shared, self.settings)
        search.phase, final.phase = "search", "final"
        return search, final

    def executor(self) -> Executor:
        """Return a new executor, which has started nothing yet. Raises ConfigError."""
        root = data_root(self.shared.data.root)
        is_short = self.settings.minutes is not None and self.settings.minutes < MINUTES_THAT_PAY
        steps = 0 if is_short else self.steps
        workspace = Workspace(self.folder / "logs", self.folder / "checkpoints", root, steps)
        return build_executor(self.settings.executor, workspace)

    def concurrency(self, device: DeviceInfo) -> int:
        """Return how many runs train at once on this machine."""
        return self.executor().concurrency(device, self.shared.device)

    def specs(self) -> list[TrialSpec]:
        """Return the run of each scheduler with its default configuration.

        Raises ConfigError with the name of the scheduler whose config is invalid.
        """
        return list(for_each_scheduler(self.configs, parse_spec).values())

    def studies(self, results: Iterable[TrialResult], log: Log = print) -> dict[str, Study]:
        """Return the searches by their `study_name`, restored from the journal and the results.

        Trial 0 is the default configuration. The next startup trials are spread over the space.
        """
        settings = self.settings
        searches = {
            study_name(name, number): (name, number) for number in range(settings.searches) for name in self.configs
        }
        known: dict[str, dict[int, dict[str, Value]]] = {key: {} for key in searches}
        for spec in (result.spec for result in results):
            key = study_name(spec.scheduler.name, spec.search)
            if spec.phase == "search" and spec.trial and key in known:
                known[key][spec.trial] = dict(spec.sampled)
        for key, (name, number) in searches.items():
            self._add_startup_trials(known[key], name, settings.first_seed(number))
        spaces = {key: self.spaces[name] for key, (name, _) in searches.items()}
        storage = open_journal(self.folder / "study.journal", spaces, known, log)
        return {
            key: Study(storage, key, spaces[key], known[key], settings.sampler, settings.first_seed(number))
            for key, (_, number) in searches.items()
        }

    def _add_startup_trials(self, known: dict[int, dict[str, Value]], name: str, seed: int) -> None:
        """Add the values of the first trials of a scheduler's search that have no result yet."""
        cfg, space = self.configs[name], self.spaces[name]
        known[0] = {key: OmegaConf.select(cfg, key) for key in space}
        count = min(self.settings.startup_trials, self.settings.n_trials)
        if any(number not in known for number in range(count)):
            for number, values in enumerate(spread_points(space, count - 1, seed), 1):
                known.setdefault(number, values)


def study_name(scheduler: str, search: int) -> str:
    """Return the name of a search in Optuna's journal."""
    return f"{scheduler} search {search}" if search else scheduler


def make_plan(overrides: Sequence[str]) -> Plan:
    """Return the sweep that the overrides describe. Raises ConfigError. Does not import torch."""
    if single := [text for text in overrides if text.startswith("scheduler=")]:
        message = f"{single[0]}: must be schedulers=[…], because a sweep compares several"
        raise ConfigError(f"{message}. For a single run: python -m lrbench.train {single[0]}")
    cfg = load_config("sweep", without_scheduler_keys(overrides))
    values: dict[str, Any] = {
        key: OmegaConf.to_container(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key]
        for key in SweepSettings.model_fields
    }
    validated(ReportSettings, values["report"], "report")  # alone, so that a message has the whole key
    names = scheduler_names(values["schedulers"])
    settings = validated(SweepSettings, values | {"schedulers": names}, "")
    configs = load_each("sweep", overrides, names)
    for_each_scheduler(configs, parse_spec)
    plan = Plan(settings, configs, for_each_scheduler(configs, search_space))
    _check(plan)
    return plan


def describe_runs(plan: Plan, device: DeviceInfo, concurrency: int) -> str:
    """Return the number and the length of the runs, and how they train, in words."""
    search_steps, final_steps = plan.run_steps
    precision = plan.specs()[0].resolved(device).train.precision
    lengths = (
        f"{plan.search_runs} search runs of {search_steps} steps and "
        f"{plan.final_runs} final runs of {final_steps} steps"
    )
    return f"{lengths}, {concurrency} at once on {device.device} in {precision}, into {plan.folder}"


def for_final_runs(cfg: DictConfig, settings: SweepSettings) -> DictConfig:
    """Return a config of the search with the images of the final runs.

    Raises ConfigError if the data set has fewer.
    """
    available = cfg.data.images - cfg.data.holdout_images
    if settings.final_train_images is not None and settings.final_train_images > available:
        limit = (
            f"must be at most {available}, because {cfg.data.holdout_images} of {cfg.data.images} images are held out"
        )
        raise ConfigError(
            f"final_train_images={settings.final_train_images}: {limit}. Use null to train on all of them."
        )
    cfg = cfg.copy()
    cfg.data.train_images = settings.final_train_images
    if settings.final_train_images is None:
        cfg.data.holdout_images = 0
    return cfg


def _check(plan: Plan) -> None:
    """Raise ConfigError for settings that are invalid, alone or together."""
    settings = plan.settings
    if Path(settings.name).name != settings.name or settings.name.startswith("."):
        raise ConfigError(
            f"name={settings.name}: must be a folder name without / and without a leading dot, such as name=quick-2"
        )
    if len(os.fsencode(settings.name)) > MAX_NAME:
        raise ConfigError(f"name={settings.name}: must have at most {MAX_NAME} bytes, because it names a folder")
    for key in ("sampler", "pruner", "executor"):
        check_targets(getattr(settings, key), key, plan.shared.allow)
    build_sampler(settings.sampler, settings.seed, 0)
    build_pruner(settings.pruner)
    plan.executor()
    parse_spec(for_final_runs(plan.shared, settings))
    if settings.prunes and settings.search_seeds > 1:
        given = f"pruner={settings.pruner['name']} search_seeds={settings.search_seeds}"
        raise ConfigError(
            f"{given}: search_seeds must be 1 with a pruner, which compares runs with the same seed. "
            "Set search_seeds=1 or pruner=none"
        )
    if settings.search_seeds > (limit := FIRST_FINAL_SEED // 2):
        reason = "because higher seeds belong to the final runs"
        raise ConfigError(f"search_seeds={settings.search_seeds}: must be at most {limit}, {reason}")
    if settings.final_seeds > (limit := SEEDS_PER_SEARCH - FIRST_FINAL_SEED):
        reason = "because higher seeds belong to the next search"
        raise ConfigError(f"final_seeds={settings.final_seeds}: must be at most {limit}, {reason}")
    if settings.confirm == 1:
        raise ConfigError("confirm=1: must be 0, or at least 2, because one trial leaves no choice")
    if plan.specs()[0].data.holdout_images == 0:
        raise ConfigError(
            "data.holdout_images=0: must be at least 1, because a search compares trials on held-out images"
        )
