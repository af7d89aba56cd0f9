"""The folder of a sweep: one sweep at a time writes into it, and all of its runs share a config."""

import itertools
import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import yaml
from omegaconf import OmegaConf

from lrbench.orchestration.plan import Plan
from lrbench.results.files import writable_folder, write_text
from lrbench.results.result import TrialResult
from lrbench.spec import NEWER_SETTINGS, ConfigError, DataSpec

LOCK, HOLDER = "sweep.lock", "sweep.holder"  # HOLDER says in words who holds the lock
CHANGEABLE = (  # keys that may differ at the next start, because they do not change the runs
    "schedulers",
    "scheduler",
    "searches",
    "n_trials",
    "final_seeds",
    "final_default",
    "final_neighbours",
    "report",
    "minutes",
    "executor",
    "tracking",
    "out",
    "allow",
    "dry_run",
    "fresh",
)
RECORDED = ("searches", "n_trials", "final_seeds", "report")  # of those, the keys that a report needs
OLDER_SEARCH = {"startup_trials": 1, "confirm": 0}  # of lrbench 0.1, whose config.yaml lacks these keys


@contextmanager
def locked_folder(plan: Plan) -> Iterator[None]:
    """Hold the sweep's folder, so that no other sweep writes into it.

    Raises ConfigError if another sweep holds it, or if it has runs of another config. A ConfigError
    in the body removes the folder if it is new and has no results.
    """
    try:
        if plan.shared.fresh and plan.folder.exists():
            with filelock.FileLock(plan.folder / LOCK, timeout=0):
                plan.folder.rename(_free_name(plan.folder))
        with writable_folder(plan.folder), filelock.FileLock(plan.folder / LOCK, timeout=0):
            check_same_config(plan)
            write_text(plan.folder / HOLDER, _this_process())
            yield
            (plan.folder / HOLDER).unlink()
    except filelock.Timeout as error:
        holder = plan.folder / HOLDER
        who = f" ({holder.read_text(encoding='utf-8')})" if holder.exists() else ""
        raise ConfigError(
            f"{plan.folder}: another sweep is writing to this folder{who}. "
            "Wait until that sweep ends, or set another name=…"
        ) from error


def write_config(plan: Plan) -> None:
    """Write the config of the sweep's runs to config.yaml."""
    path = plan.folder / "config.yaml"
    before = yaml.safe_load(path.read_text())["scheduler"] if path.exists() else {}
    now, settings = _comparable(plan), plan.settings.model_dump()
    recorded = {key: settings[key] for key in RECORDED}
    content = {**now, **recorded, "scheduler": before | now["scheduler"]}
    write_text(path, yaml.safe_dump(content, sort_keys=False))


def check_same_config(plan: Plan) -> None:
    """Raise ConfigError if the folder holds runs of another config.

    It may hold runs of other schedulers.
    """
    path = plan.folder / "config.yaml"
    if not path.exists():
        return
    written, now = _with_data_target(yaml.safe_load(path.read_text())), _comparable(plan)
    before = {key: value for key, value in written.items() if key not in RECORDED}
    both = before["scheduler"].keys() & now["scheduler"].keys()
    old, new = _flattened(_with_schedulers(before, both)), _flattened(_with_schedulers(now, both))
    old = {key: value for key, value in {**NEWER_SETTINGS, **OLDER_SEARCH}.items() if key in new} | old
    differing = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    if differing:
        lines = "\n".join(f"  {key}: {old.get(key)} in the folder, {new.get(key)} now" for key in differing)
        advice = "Set another name=…, or move the folder aside with fresh=true."
        raise ConfigError(f"{plan.folder} holds runs of another config:\n{lines}\n{advice}")


def check_n_trials(plan: Plan, results: Iterable[TrialResult]) -> None:
    """Raise ConfigError if the folder's results have trials that this start would not ask for.

    The report chooses among all trials of the folder, and the sweep among its own. So the final
    runs would be of another choice than the report's.
    """
    trials = {
        run.spec.scheduler.name: run.spec.trial_number + 1
        for run in sorted(results, key=lambda run: run.spec.trial_number)
        if run.spec.phase == "search" and run.spec.scheduler.name in plan.configs
    }
    most = max(trials, key=lambda name: trials[name], default="")
    if most and trials[most] > plan.settings.n_trials:
        raise ConfigError(
            f"n_trials={plan.settings.n_trials}: must be at least {trials[most]}, the trials that {most} has in "
            f"{plan.folder}. Set another name=…, or move the folder aside with fresh=true."
        )


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}"


def _free_name(folder: Path) -> Path:
    """Return the first of `folder`.1, `folder`.2, … that does not exist."""
    paths = (folder.with_name(f"{folder.name}.{number}") for number in itertools.count(1))
    return next(path for path in paths if not path.exists())


def _with_data_target(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config.yaml with the target of its data, which lrbench 0.1 did not write."""
    data = config["data"]
    return {**config, "data": {"_target_": DataSpec.default_target(data["name"]), "args": {}, **data}}


def _comparable(plan: Plan) -> dict[str, Any]:
    """Return the part of a sweep's config that must be the same at each start."""
    whole: Any = OmegaConf.to_container(plan.shared)
    shared = {key: value for key, value in whole.items() if key not in CHANGEABLE}
    shared["data"] = {key: value for key, value in shared["data"].items() if key != "root"}
    return {**shared, "scheduler": {name: OmegaConf.to_container(cfg.scheduler) for name, cfg in plan.configs.items()}}


def _with_schedulers(config: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return a config with only these schedulers."""
    return {**config, "scheduler": {name: config["scheduler"][name] for name in names}}


def _flattened(node: Any, key: str = "") -> dict[str, Any]:
    """Return the values of nested mappings by their dotted keys."""
    if not isinstance(node, dict):
        return {key: node}
    values: dict[str, Any] = {}
    for name, inner in node.items():
        values |= _flattened(inner, f"{key}.{name}".lstrip("."))
    return values
