"""Compare schedulers: for each a search, then final runs, then the report. `python -m lrbench.sweep` is the sweep `quick`."""

import importlib.resources
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import filelock
import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from pydantic import NonNegativeInt, PositiveInt
from rich.console import Console

from lrbench import cli, config, results, search
from lrbench.config import ConfigError, Spec, TrialSpec, validated
from lrbench.display import Board
from lrbench.executors import Executor, Inline, LocalWorkers, OnProgress, RunFailed
from lrbench.results import TrialResult
from lrbench.tracking import Publisher, store_uri, ui_command

FIRST_FINAL_SEED = 1000  # final seeds begin so far above the search's


class ExecutorSettings(Spec):
    """`workers` is the number of runs at once."""

    name: Literal["local", "inline"]
    workers: PositiveInt | Literal["auto"]


class Settings(Spec):
    """What a sweep is, beside the runs that it is made of."""

    name: str
    schedulers: list[str]
    n_trials: PositiveInt
    final_seeds: PositiveInt
    final_train_images: PositiveInt | None
    pending_trials: PositiveInt
    sampler: dict[str, Any]
    executor: ExecutorSettings
    seed: NonNegativeInt


@dataclass(frozen=True)
class Plan:
    """A sweep as its config describes it, checked; a config for each scheduler."""

    settings: Settings
    configs: dict[str, DictConfig]
    spaces: dict[str, search.Space]

    @property
    def first(self) -> DictConfig:
        """The config of one of the schedulers, where the question is not about schedulers."""
        return self.configs[self.settings.schedulers[0]]

    @property
    def folder(self) -> Path:
        return Path(self.first.out) / self.settings.name


@dataclass
class Contender:
    """One scheduler on its way through the sweep: hands out the runs that may start, and takes in their results.

    Results are told to the study in the order of their trials, so that the same sweep asks for the same trials whatever ends first.
    """

    cfg: DictConfig
    settings: Settings
    runs_at_once: int
    study: search.Study
    asked: int = 0
    told: int = 0
    ended: dict[int, TrialResult | None] = field(default_factory=dict)
    finals_started: bool = False

    def ready(self) -> list[TrialSpec]:
        """Return the runs that may start now and have not been handed out."""
        specs = []
        while True:
            if self.asked < self.settings.n_trials and self.asked - self.told < self.settings.pending_trials:
                specs.append(self._spec(self.cfg, self.asked, seed=self.settings.seed, phase="search"))
                self.asked += 1
            elif self.told in self.ended:
                result = self.ended[self.told]
                self.study.tell(self.told, None if result is None else result.last("val/accuracy"))
                self.told += 1
            else:
                break
        if self.told == self.settings.n_trials and not self.finals_started:
            self.finals_started = True
            specs += self._finals()
        return specs

    def take(self, spec: TrialSpec, result: TrialResult | None) -> None:
        """Take in how a run ended; None where it failed."""
        if spec.phase == "search":
            assert spec.trial is not None
            self.ended[spec.trial] = result

    def best(self) -> TrialResult | None:
        """Return the trial with the highest validation accuracy, the first of several; None where all failed."""
        complete = [result for _, result in sorted(self.ended.items()) if result is not None]
        return max(complete, key=lambda result: result.last("val/accuracy"), default=None)

    def _finals(self) -> list[TrialSpec]:
        best = self.best()
        if best is None or best.spec.trial is None:
            return []
        cfg = self.cfg.copy()
        cfg.data.train_images = self.settings.final_train_images
        if self.settings.final_train_images is None:
            cfg.data.holdout_images = 0
        first = self.settings.seed + FIRST_FINAL_SEED
        return [self._spec(cfg, best.spec.trial, seed=seed, phase="final") for seed in range(first, first + self.settings.final_seeds)]

    def _spec(self, cfg: DictConfig, trial: int, **labels: Any) -> TrialSpec:
        from lrbench.loop import settle

        return settle(config.parse(cfg, self.study.ask(trial), trial=trial, **labels), self.runs_at_once)


def sweep(overrides: Sequence[str]) -> None:
    """Run the sweep that the overrides describe. What its folder holds already is not trained again."""
    console = Console()
    plan = _plan(overrides)
    results.check_writable(plan.folder)
    runs_at_once = _check_here(plan, console)
    with _claimed(plan):
        contenders = {name: _contender(plan, name, runs_at_once) for name in plan.settings.schedulers}
        console.print(_introduction(plan, runs_at_once), highlight=False)
        publisher = Publisher(Path(plan.first.out), plan.first.tracking.uri, plan.settings.name)
        try:
            failures = _run(plan, contenders, runs_at_once, publisher, console)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted; what is finished is safe. To go on: {cli.command_line('lrbench.sweep', overrides)}"
            ) from None
        _finish(plan, contenders, publisher, console, overrides)
    if failures:
        again = cli.command_line("lrbench.sweep", overrides)
        console.print(f"{failures} runs failed and their results are missing. To try them again: {again}", style="red", soft_wrap=True)
        sys.exit(1)


def _plan(overrides: Sequence[str]) -> Plan:
    """Return the sweep that the overrides describe. Raises ConfigError, without torch having been imported."""
    if alone := [text for text in overrides if text.startswith("scheduler=")]:
        raise ConfigError(f"{alone[0]}: a sweep compares schedulers=[…]; one run is python -m lrbench.train {alone[0]}")
    cfg = config.load("sweep", overrides)
    chosen = OmegaConf.to_container(cfg.schedulers) if OmegaConf.is_config(cfg.schedulers) else cfg.schedulers
    known = config.options("scheduler")
    names = known if chosen == "all" else list(dict.fromkeys(chosen)) if isinstance(chosen, list) else [chosen]
    for name in names:
        if name not in known:
            raise ConfigError(f"schedulers={name}: unknown{config.nearest(str(name), known)}")
    if not names:
        raise ConfigError(f"schedulers=[]: at least one is needed{config.nearest('', known)}")
    values = {key: OmegaConf.to_container(cfg[key]) if OmegaConf.is_config(cfg[key]) else cfg[key] for key in Settings.model_fields}
    settings = validated(Settings, values | {"schedulers": names}, "")
    configs = {name: config.load("sweep", [*overrides, f"scheduler={name}"]) for name in names}
    for scheduler_cfg in configs.values():
        config.parse(scheduler_cfg)
    return Plan(settings, configs, {name: search.space(scheduler_cfg) for name, scheduler_cfg in configs.items()})


def _check_here(plan: Plan, console: Console) -> int:
    """Check that every scheduler, the network and the data can be had here, and return how many runs go at once."""
    from lrbench import data, loop, schedules

    spec = loop.settle(config.parse(plan.first))
    for cfg in plan.configs.values():
        schedules.table(config.parse(cfg))
    loop.check(spec)
    data.prepare(spec.data, console.print)
    if plan.settings.executor.name == "inline":
        return 1
    workers = plan.settings.executor.workers
    return loop.devices(plan.first.device) if workers == "auto" else workers


@contextmanager
def _claimed(plan: Plan) -> Iterator[None]:
    """Hold the sweep's folder, so that no other sweep writes there, and keep its config in it."""
    folder = plan.folder
    lock = filelock.FileLock(folder / "sweep.lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise ConfigError(f"{folder}: another sweep is at work there; wait for it, or give this one a name=… of its own") from error
    with lock:
        _check_same(plan, folder / "config.yaml")
        yield


def _check_same(plan: Plan, path: Path) -> None:
    """Write the sweep's config, or raise ConfigError where the folder holds results of another one."""
    free = ("schedulers", "scheduler", "n_trials", "final_seeds", "executor", "tracking", "out", "allow")  # may change from start to start
    plain: Any = OmegaConf.to_container(plan.first)
    shared = {key: value for key, value in plain.items() if key not in free}
    now = {"sweep": shared, "scheduler": {name: OmegaConf.to_container(cfg.scheduler) for name, cfg in plan.configs.items()}}
    before = yaml.safe_load(path.read_text()) if path.exists() else {"sweep": shared, "scheduler": {}}
    old, new = _leaves(before), _leaves(now)
    same_schedulers = tuple(f"scheduler.{name}." for name in before["scheduler"] if name in now["scheduler"])
    differing = [key for key in sorted(old | new) if old.get(key) != new.get(key) and key.startswith(("sweep.", *same_schedulers))]
    if differing:
        lines = [f"  {key.partition('.')[2]}: {old.get(key)} there, {new.get(key)} now" for key in differing]
        raise ConfigError(f"{path.parent} holds runs of another config:\n" + "\n".join(lines) + "\nGive this sweep a name=… of its own.")
    merged = {"sweep": shared, "scheduler": before["scheduler"] | now["scheduler"]}
    results.write_text(path, yaml.safe_dump(merged, sort_keys=False))


def _leaves(node: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {key: node}
    return {leaf: value for name, inner in node.items() for leaf, value in _leaves(inner, f"{key}.{name}".lstrip(".")).items()}


def _contender(plan: Plan, name: str, runs_at_once: int) -> Contender:
    cfg, space, settings = plan.configs[name], plan.spaces[name], plan.settings
    defaults = {key: OmegaConf.select(cfg, key) for key in space}
    study = search.Study(plan.folder / "study.journal", name, space, defaults, settings.sampler, settings.seed)
    return Contender(cfg, settings, runs_at_once, study)


def _introduction(plan: Plan, runs_at_once: int) -> str:
    settings, spec = plan.settings, config.parse(plan.first)
    runs = len(settings.schedulers) * (settings.n_trials + settings.final_seeds)
    return (
        f"sweep {settings.name}: {len(settings.schedulers)} schedulers, {settings.n_trials} trials and {settings.final_seeds} final runs "
        f"each: {runs} runs of {spec.train.total_steps} steps, {runs_at_once} at once, into {plan.folder}"
    )


def _run(plan: Plan, contenders: Mapping[str, Contender], runs_at_once: int, publisher: Publisher, console: Console) -> int:
    """Train whatever is missing, and return the number of runs that failed. No run waits for another but for its study's sake."""
    trials = plan.folder / "trials"
    known = {result.spec.key(): result for result in results.read_all(trials)}
    unasked, running, failures = deque(contenders.values()), dict[Future[TrialResult], tuple[Contender, TrialSpec]](), 0
    with Board(console, len(contenders) * (plan.settings.n_trials + plan.settings.final_seeds)) as board:
        executor = _executor(plan, runs_at_once, board.progress)
        try:
            while unasked or running:
                while unasked:
                    contender = unasked.popleft()
                    for spec in contender.ready():
                        if spec.key() in known:
                            contender.take(spec, known[spec.key()])
                            publisher.publish(known[spec.key()])
                            board.known(known[spec.key()])
                            unasked.append(contender)
                        else:
                            running[executor.submit(spec)] = contender, spec
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    contender, spec = running.pop(future)
                    try:
                        result = future.result()
                    except RunFailed as failure:
                        failures += 1
                        contender.take(spec, None)
                        board.failed(spec, str(failure))
                    else:
                        results.write(trials, result)
                        contender.take(spec, result)
                        publisher.publish(result)
                        board.finished(result)
                    unasked.append(contender)
        finally:
            executor.close()
    return failures


def _executor(plan: Plan, runs_at_once: int, on_progress: OnProgress) -> Executor:
    if plan.settings.executor.name == "inline":
        return Inline(on_progress)
    return LocalWorkers(runs_at_once, plan.folder / "logs", on_progress)


def _finish(plan: Plan, contenders: Mapping[str, Contender], publisher: Publisher, console: Console, overrides: Sequence[str]) -> None:
    """Write the report, see the runs published, and say where everything is."""
    from lrbench import report

    for name, contender in contenders.items():
        if best := contender.best():
            publisher.publish_best(name, {"trial": best.spec.trial, "val/accuracy": best.last("val/accuracy"), **best.spec.sampled})
    rows = report.write(plan.folder)
    report.show(console, rows)
    publisher.close()
    if publisher.failure:
        again = cli.command_line("lrbench.sweep", overrides)
        console.print(
            f"MLflow does not have all runs ({publisher.failure}). The results are safe; the same command publishes them: {again}"
        )
    uri = store_uri(Path(plan.first.out), plan.first.tracking.uri)
    best = cli.command_line(
        "lrbench.train", [f"scheduler={rows[0].scheduler}", *(f"{key}={value}" for key, value in rows[0].arguments.items())]
    )
    more = cli.command_line(
        "lrbench.sweep", [*(text for text in overrides if not text.startswith("n_trials=")), f"n_trials={4 * plan.settings.n_trials}"]
    )
    for what, text in {
        "report": str(plan.folder / "report.md"),
        "runs in the browser": ui_command(uri),
        "search further": more,
        "train with the best": best,
    }.items():
        console.print(f"{what + ':':20} {text}", highlight=False, soft_wrap=True)


def _register_sweeps() -> None:
    """Make each file of sweeps/ a choice of Hydra's group `sweep`."""
    for path in importlib.resources.files("lrbench.sweeps").iterdir():
        if path.name.endswith(".yaml"):
            node = OmegaConf.create(path.read_text(encoding="utf-8"))
            ConfigStore.instance().store(group="sweep", name=path.name.removesuffix(".yaml"), node=node, package="_global_")


def main() -> None:
    """Run the sweep of the command line."""
    _register_sweeps()
    cli.command("sweep", sweep)


if __name__ == "__main__":
    main()
