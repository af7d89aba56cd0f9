"""The checked plan of a sweep: its settings, and the config and search space of each scheduler."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from lrbench.config.compose import load_config, parse_spec
from lrbench.config.paths import data_root
from lrbench.config.schedulers import load_each, scheduler_names, without_scheduler_keys
from lrbench.config.targets import check_targets
from lrbench.executors.executor import Executor, Workspace, build_executor
from lrbench.orchestration.time_budget import RunCounts
from lrbench.results.result import TrialResult
from lrbench.search.components import build_pruner, build_sampler
from lrbench.search.journal import open_journal
from lrbench.search.space import Space, search_space
from lrbench.search.study import Study
from lrbench.spec import ConfigError, DeviceInfo, PlainData, TrialSpec, validated
from lrbench.text import Log

MINUTES_THAT_PAY = 10.0  # for torch.compile: each worker compiles for about a minute
FIRST_FINAL_SEED = 1000  # the final seeds begin this far above the sweep's seed


class SweepSettings(PlainData):
    """The keys of conf/sweep.yaml that are not about a single run."""

    name: str
    schedulers: list[str]
    n_trials: PositiveInt
    search_seeds: PositiveInt
    final_seeds: PositiveInt
    final_default: bool
    final_train_images: PositiveInt | None
    pending_trials: PositiveInt
    minutes: PositiveFloat | None
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    executor: dict[str, Any]
    seed: NonNegativeInt

    @property
    def search_seed_range(self) -> range:
        """The seeds with which every trial is trained."""
        return range(self.seed, self.seed + self.search_seeds)

    @property
    def final_seed_range(self) -> range:
        """The seeds of the final runs, which the search never uses."""
        return range(self.seed + FIRST_FINAL_SEED, self.seed + FIRST_FINAL_SEED + self.final_seeds)

    @property
    def final_runs_per_scheduler(self) -> int:
        """The number of final runs of a scheduler, if its default configuration is not the best."""
        return self.final_seeds * self.final_runs_per_seed

    @property
    def final_runs_per_seed(self) -> int:
        """The number of final runs of a scheduler with one seed, if its default is not the best."""
        return 2 if self.final_default else 1

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
    def search_runs(self) -> int:
        """The number of search runs. Trials that repeat each other make it smaller."""
        return len(self.settings.schedulers) * self.settings.n_trials * self.settings.search_seeds

    @property
    def final_runs(self) -> int:
        """The number of final runs. It is smaller if the default configuration is the best."""
        return len(self.settings.schedulers) * self.settings.final_runs_per_scheduler

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
        (search, final), schedulers = self.run_steps, len(self.settings.schedulers)
        return RunCounts(
            trials=self.settings.n_trials,
            seeds=self.settings.final_seeds,
            search_runs=schedulers * self.settings.search_seeds,
            final_runs=schedulers * self.settings.final_runs_per_seed,
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
        """Return the run of each scheduler with its default configuration."""
        return [parse_spec(cfg) for cfg in self.configs.values()]

    def studies(self, results: Iterable[TrialResult], log: Log = print) -> dict[str, Study]:
        """Return the search of each scheduler, restored from its journal and the results.

        Trial 0 is the default configuration.
        """
        known = {
            name: {0: {key: OmegaConf.select(cfg, key) for key in self.spaces[name]}}
            for name, cfg in self.configs.items()
        }
        for spec in (result.spec for result in results):
            if spec.phase == "search" and spec.trial and spec.scheduler.name in known:
                known[spec.scheduler.name][spec.trial] = dict(spec.sampled)
        storage = open_journal(self.folder / "study.journal", self.spaces, known, log)
        sampler, seed = self.settings.sampler, self.settings.seed
        return {name: Study(storage, name, self.spaces[name], known[name], sampler, seed) for name in self.configs}


def make_plan(overrides: Sequence[str]) -> Plan:
    """Return the sweep that the overrides describe. Raises ConfigError. Does not import torch."""
    if single := [text for text in overrides if text.startswith("scheduler=")]:
        message = f"{single[0]}: must be schedulers=[…], because a sweep compares several"
        raise ConfigError(f"{message}. For a single run: python -m lrbench.train {single[0]}")
    cfg = load_config("sweep", without_scheduler_keys(overrides))
    values = {
        key: OmegaConf.to_container(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key]
        for key in SweepSettings.model_fields
    }
    names = scheduler_names(values["schedulers"])
    settings = validated(SweepSettings, values | {"schedulers": names}, "")
    configs = load_each("sweep", overrides, names)
    plan = Plan(settings, configs, {name: search_space(scheduler_cfg) for name, scheduler_cfg in configs.items()})
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
    if settings.search_seeds > FIRST_FINAL_SEED:
        limit = f"must be at most {FIRST_FINAL_SEED}, because higher seeds belong to the final runs"
        raise ConfigError(f"search_seeds={settings.search_seeds}: {limit}")
    if plan.specs()[0].data.holdout_images == 0:
        raise ConfigError(
            "data.holdout_images=0: must be at least 1, because a search compares trials on held-out images"
        )
