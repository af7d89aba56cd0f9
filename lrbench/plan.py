"""What a sweep is made of, checked: its settings, a config and a search space for each scheduler, and its folder."""

import importlib.resources
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from lrbench import config, results, search
from lrbench.results import TrialResult
from lrbench.spec import ConfigError, Machine, Spec, TrialSpec, validated

LOCK, HOLDER = "sweep.lock", "sweep.holder"  # held while a sweep is at work in its folder; and who holds it, for people
FIRST_FINAL_SEED = 1000  # final seeds begin so far above the search's

# What may change when a sweep is started again; all else would make other runs.
CHANGEABLE = (
    "schedulers",
    "scheduler",
    "n_trials",
    "final_seeds",
    "final_default",
    "executor",
    "tracking",
    "out",
    "allow",
    "dry_run",
    "fresh",
)


class ExecutorSettings(Spec):
    """`workers` is the number of runs at once: each keeps a checkpoint every `checkpoint_seconds`.

    A worker process that is silent for `silence_seconds` is taken for dead.
    """

    name: Literal["local", "inline"]
    workers: PositiveInt | Literal["auto"]
    checkpoint_seconds: PositiveFloat
    silence_seconds: PositiveInt = 300


class Settings(Spec):
    """What a sweep is, beside the runs that it is made of."""

    name: str
    schedulers: list[str]
    n_trials: PositiveInt
    search_seeds: PositiveInt
    final_seeds: PositiveInt
    final_default: bool
    final_train_images: PositiveInt | None
    pending_trials: PositiveInt
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    executor: ExecutorSettings
    seed: NonNegativeInt

    @property
    def seeds_of_search(self) -> range:
        """The seeds that every trial is trained with."""
        return range(self.seed, self.seed + self.search_seeds)

    @property
    def seeds_of_finals(self) -> range:
        """The seeds of the final runs, none of which the search has."""
        return range(self.seed + FIRST_FINAL_SEED, self.seed + FIRST_FINAL_SEED + self.final_seeds)


@dataclass(frozen=True)
class Plan:
    """A sweep as its config describes it."""

    settings: Settings
    configs: dict[str, DictConfig]
    spaces: dict[str, search.Space]

    @property
    def first(self) -> DictConfig:
        """The config of one of the schedulers, where the question is not about schedulers."""
        return self.configs[self.settings.schedulers[0]]

    @property
    def folder(self) -> Path:
        """Where the sweep leaves everything."""
        return Path(self.first.out) / self.settings.name

    @property
    def journal(self) -> Path:
        """Optuna's journal, a view of the results: without it, the same trials are asked again."""
        return self.folder / "study.journal"

    @property
    def runs(self) -> int:
        """The number of trainings of the whole sweep, at most."""
        return len(self.settings.schedulers) * sum(self._runs_of_a_scheduler())

    @property
    def steps(self) -> int:
        """The number of optimizer steps of the whole sweep, at most."""
        search, final = (config.parse(cfg).train.total_steps for cfg in self.search_and_final())
        search_runs, final_runs = self._runs_of_a_scheduler()
        return len(self.settings.schedulers) * (search_runs * search + final_runs * final)

    def _runs_of_a_scheduler(self) -> tuple[int, int]:
        settings = self.settings
        return settings.n_trials * settings.search_seeds, settings.final_seeds * (2 if settings.final_default else 1)

    def search_and_final(self) -> tuple[DictConfig, DictConfig]:
        """The configs of a search run and of a final run of the first scheduler."""
        search, final = self.first.copy(), for_final_runs(self.first, self.settings)
        search.phase, final.phase = "search", "final"
        return search, final

    def runs_at_once(self, machine: Machine) -> int:
        """Return how many runs are trained at once on a machine."""
        settings = self.settings.executor
        if settings.name == "inline":
            return 1
        return machine.runs_at_once(self.first.device) if settings.workers == "auto" else settings.workers

    def specs(self) -> list[TrialSpec]:
        """Return the run of each scheduler's config as it stands."""
        return [config.parse(cfg) for cfg in self.configs.values()]

    def studies(self, found: Iterable[TrialResult], say: Callable[[str], None] = print) -> dict[str, search.Study]:
        """Return the search of each scheduler, as its journal and the results have it. Its first trial is the config as it stands."""
        known = {name: {0: {key: OmegaConf.select(cfg, key) for key in self.spaces[name]}} for name, cfg in self.configs.items()}
        for spec in (result.spec for result in found):
            if spec.phase == "search" and spec.trial and spec.scheduler.name in known:
                known[spec.scheduler.name][spec.trial] = dict(spec.sampled)
        storage = search.opened(self.journal, self.spaces, known, say)
        sampler, seed = self.settings.sampler, self.settings.seed
        return {name: search.Study(storage, name, self.spaces[name], known[name], sampler, seed) for name in self.configs}


def make(overrides: Sequence[str]) -> Plan:
    """Return the sweep that the overrides describe. Raises ConfigError, without torch having been imported."""
    if alone := [text for text in overrides if text.startswith("scheduler=")]:
        raise ConfigError(f"{alone[0]}: a sweep compares schedulers=[…]; one run is python -m lrbench.train {alone[0]}")
    cfg = config.load("sweep", of_no_scheduler(overrides))
    values = {key: OmegaConf.to_container(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key] for key in Settings.model_fields}
    names = chosen(values["schedulers"])
    config.set_data_root(cfg)
    settings = validated(Settings, values | {"schedulers": names}, "")
    if Path(settings.name).name != settings.name or settings.name.startswith("."):
        raise ConfigError(f"name={settings.name}: the name of a folder is expected")
    configs = for_each("sweep", overrides, names)
    plan = Plan(settings, configs, {name: search.space(scheduler_cfg) for name, scheduler_cfg in configs.items()})
    search.sampler(settings.sampler, settings.seed, 0)
    search.pruner(settings.pruner)
    if settings.pruner["name"] != "none" and settings.search_seeds > 1:
        raise ConfigError(f"pruner={settings.pruner['name']} search_seeds={settings.search_seeds}: a pruner stops runs of one seed only")
    if settings.search_seeds > FIRST_FINAL_SEED:
        raise ConfigError(f"search_seeds={settings.search_seeds}: at most {FIRST_FINAL_SEED}, where the seeds of the final runs begin")
    if plan.specs()[0].data.holdout_images == 0:
        raise ConfigError("data.holdout_images=0: a search chooses on held-out images, at least 1")
    return plan


def for_final_runs(cfg: DictConfig, settings: Settings) -> DictConfig:
    """Return a config of the search with the images of the final runs. Raises ConfigError where there are not so many."""
    available = cfg.data.images - cfg.data.holdout_images
    if settings.final_train_images is not None and settings.final_train_images > available:
        images = f"{available} images are left of {cfg.data.images} beside the held-out ones"
        raise ConfigError(f"final_train_images={settings.final_train_images}: {images}; null means all, the held-out ones included")
    cfg = cfg.copy()
    cfg.data.train_images = settings.final_train_images
    if settings.final_train_images is None:
        cfg.data.holdout_images = 0
    return cfg


@contextmanager
def claimed(plan: Plan) -> Iterator[None]:
    """Hold the sweep's folder, so that no other sweep writes into it; where a ConfigError ends its use, nothing new is left."""
    try:
        if plan.first.fresh and plan.folder.exists():
            with filelock.FileLock(plan.folder / LOCK, timeout=0):
                plan.folder.rename(_free_name(plan.folder))
        with results.folder_for_runs(plan.folder), filelock.FileLock(plan.folder / LOCK, timeout=0):
            check_same(plan)
            results.write_text(plan.folder / HOLDER, _this_process())
            yield
            (plan.folder / HOLDER).unlink()
    except filelock.Timeout as error:
        holder = plan.folder / HOLDER
        who = f" ({holder.read_text(encoding='utf-8')})" if holder.exists() else ""
        ways_out = "wait for it, or give this one a name=… of its own"
        raise ConfigError(f"{plan.folder}: another sweep is at work there{who}; {ways_out}") from error


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}"


def _free_name(folder: Path) -> Path:
    """Return the first of `folder`.1, `folder`.2, … that is not there."""
    return next(path for number in itertools.count(1) if not (path := folder.with_name(f"{folder.name}.{number}")).exists())


def write_config(plan: Plan) -> None:
    """Write down what the sweep's folder holds runs of."""
    path = plan.folder / "config.yaml"
    before = yaml.safe_load(path.read_text())["scheduler"] if path.exists() else {}
    now = _plain(plan)
    results.write_text(path, yaml.safe_dump({**now, "scheduler": before | now["scheduler"]}, sort_keys=False))


def register_sweeps() -> None:
    """Make each file of sweeps/ a choice of Hydra's group `sweep`."""
    # Hydra copies its store whenever it composes, and for each group that --help lists: with these files, half a second.
    # There is no need to: whatever it takes out of the store it copies too.
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]
    for path in importlib.resources.files("lrbench.sweeps").iterdir():
        if path.name.endswith(".yaml"):
            node = OmegaConf.create(path.read_text(encoding="utf-8"))
            ConfigStore.instance().store(group="sweep", name=path.name.removesuffix(".yaml"), node=node, package="_global_")


def chosen(schedulers: object) -> list[str]:
    """Return the names that `schedulers` means: all, a list or one. Raises ConfigError for an unknown one."""
    known = config.options("scheduler")
    names = known if schedulers == "all" else list(dict.fromkeys(map(str, schedulers if isinstance(schedulers, list) else [schedulers])))
    for name in names:
        if name not in known:
            raise ConfigError(f"schedulers={name}: unknown{config.nearest(name, known)}")
    if not names:
        raise ConfigError(f"schedulers=[]: at least one is needed{config.nearest('', known)}")
    return names


def of_no_scheduler(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that every scheduler's config has a place for."""
    return [text for text in overrides if not text.lstrip("+~").startswith("scheduler.")]


def for_each(config_name: str, overrides: Sequence[str], schedulers: Sequence[str]) -> dict[str, DictConfig]:
    """Return the config of each scheduler. Raises ConfigError, with its name, where one has no place for an override."""
    configs = {}
    for name in schedulers:
        try:
            configs[name] = config.load(config_name, [*overrides, f"scheduler={name}"])
        except ConfigError as error:
            raise ConfigError(f"scheduler={name}: {error}" if len(schedulers) > 1 else str(error)) from error
    return configs


def check_same(plan: Plan) -> None:
    """Raise ConfigError where the folder holds runs of another config; other schedulers may have run there."""
    path = plan.folder / "config.yaml"
    if not path.exists():
        return
    before, now = yaml.safe_load(path.read_text()), _plain(plan)
    both = before["scheduler"].keys() & now["scheduler"].keys()
    old, new = ({**node, "scheduler": {name: node["scheduler"][name] for name in both}} for node in (before, now))
    old, new = _leaves(old), _leaves(new)
    if differing := [f"  {key}: {old.get(key)} there, {new.get(key)} now" for key in sorted(old | new) if old.get(key) != new.get(key)]:
        lines = "\n".join(differing)
        ways_out = "Give this sweep a name=… of its own, or move that folder aside with fresh=true."
        raise ConfigError(f"{plan.folder} holds runs of another config:\n{lines}\n{ways_out}")


def _plain(plan: Plan) -> dict[str, Any]:
    whole: Any = OmegaConf.to_container(plan.first)
    shared = {key: value for key, value in whole.items() if key not in CHANGEABLE}
    shared["data"] = {key: value for key, value in shared["data"].items() if key != "root"}
    return {**shared, "scheduler": {name: OmegaConf.to_container(cfg.scheduler) for name, cfg in plan.configs.items()}}


def _leaves(node: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {key: node}
    return {leaf: value for name, inner in node.items() for leaf, value in _leaves(inner, f"{key}.{name}".lstrip(".")).items()}
