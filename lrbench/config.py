"""From YAML to a TrialSpec: compose, apply changes, check. Every mistake in a config is reported here."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError

from lrbench import resolvers
from lrbench.spec import ConfigError, DataSpec, ModelSpec, OptimizerSpec, SchedulerSpec, TrainSpec, TrialSpec, validated

ALLOWED_TARGETS = ("torch.optim", "lrbench.factors", "lrbench.models", "lrbench.schedules")


def load(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a config, and check the user's keys and types against what the files have.

    To be called inside a Hydra program, or with Hydra initialised. Raises ConfigError, or Hydra's own errors.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    choices = [override for override in parsed if options(override.key_or_group)]
    known = compose(config_name, [override.input_line or "" for override in choices])
    given = known.copy()
    for override in parsed:
        if override not in choices:
            _apply(given, override)
    _check_keys(given, known, "")
    return given


def parse(cfg: DictConfig, sampled: Mapping[str, Any] | None = None, **labels: Any) -> TrialSpec:
    """Return the run that a config describes, after `sampled` (config key to value) is set in a copy of it.

    `labels` are fields of TrialSpec that take the place of the config's: seed, phase, trial.
    """
    cfg, sampled = cfg.copy(), dict(sampled or {})
    for key, value in sampled.items():
        OmegaConf.update(cfg, key, value)
    for section in ("scheduler", "optimizer", "model"):
        check_targets(OmegaConf.to_container(cfg[section]), section, (*ALLOWED_TARGETS, *cfg.allow))
    optimizer = validated(OptimizerSpec, _plain(cfg, "optimizer"), "optimizer")
    given = {key: value for key, value in _plain(cfg, "data").items() if key != "root"}  # the machine's, and not the run's
    data = validated(DataSpec, given | {"train_images": resolvers.train_images(cfg)}, "data")
    length = {"total_steps": resolvers.total_steps(cfg), "steps_per_epoch": resolvers.steps_per_epoch(cfg)}
    train = validated(TrainSpec, _plain(cfg, "train") | length, "train")
    scheduler = validated(SchedulerSpec, _plain(cfg, "scheduler"), "scheduler")
    model = validated(ModelSpec, _plain(cfg, "model"), "model")
    parts = {"scheduler": scheduler, "optimizer": optimizer, "model": model, "data": data, "train": train}
    return validated(TrialSpec, parts | {key: cfg[key] for key in ("seed", "device", "phase")} | {"sampled": sampled} | labels, "")


def options(group: str) -> list[str]:
    """Return the names in a config group, such as `scheduler`."""
    return list(GlobalHydra.instance().config_loader().get_group_options(group))


def nearest(name: str, names: Sequence[str]) -> str:
    """Return the end of a message about an unknown name: what it may have meant, and what is allowed."""
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    guess = f"; did you mean {' or '.join(close)}?" if close else "."
    return f"{guess} Allowed: {', '.join(sorted(names)) or 'nothing'}"


def set_data_root(cfg: DictConfig) -> None:
    """Make the config's `data.root` that of this process and of those that it starts."""
    if cfg.data.root:
        os.environ["LRBENCH_DATA"] = str(cfg.data.root)


def data_root() -> Path:
    """Return the absolute folder of the data cache."""
    return Path(os.environ.get("LRBENCH_DATA") or platformdirs.user_cache_dir("lrbench")).expanduser().absolute()


def _apply(cfg: DictConfig, override: Override) -> None:
    """Make one change of the command line to a composed config, as Hydra would."""
    key = override.key_or_group
    if override.is_delete():
        parent, _, name = key.rpartition(".")
        with open_dict(cfg):
            OmegaConf.select(cfg, parent).pop(name)
    else:
        with open_dict(cfg):
            OmegaConf.update(cfg, key, override.value())


def _plain(cfg: DictConfig, section: str) -> dict[str, Any]:
    """Return a section of the config as plain data, resolved, without its search space."""
    try:
        plain = OmegaConf.to_container(cfg[section], resolve=True)
        return dict(_without_search(plain))
    except InterpolationResolutionError as error:
        written = OmegaConf.to_container(cfg, resolve=False)
        for name in re.findall(r"\w+", error.full_key or ""):
            written = written[int(name) if isinstance(written, list) else name]  # type: ignore[index]
        reason = str(error).splitlines()[0].rpartition(" raised while resolving interpolation: ")[2]
        raise ConfigError(f"{error.full_key}={written}: {reason}") from error


def _without_search(node: Any) -> Any:
    """Return plain data without search spaces, those of a composite's members among them."""
    if isinstance(node, list):
        return [_without_search(item) for item in node]
    return {str(key): _without_search(value) for key, value in node.items() if key != "search"} if isinstance(node, dict) else node


def _check_keys(given: DictConfig | ListConfig, known: DictConfig | ListConfig, key: str) -> None:
    """Raise ConfigError for a key that the config files do not have, and for a value of another type."""
    names: Sequence[Any] = list(given) if isinstance(given, DictConfig) else range(len(given))
    for name in names:
        inner = f"{key}.{name}".lstrip(".")
        if isinstance(known, ListConfig):
            if not len(known):
                continue
            pattern = _resolved(known, min(name, len(known) - 1))  # any number of items, of the type of those in the file
        elif name in known:
            pattern = _resolved(known, name)
        else:
            raise ConfigError(f"unknown key {inner}{nearest(str(name), [str(other) for other in known])}")
        if inner in _CHECKED_ELSEWHERE or OmegaConf.is_interpolation(given, name):
            continue
        _check_type(given[name], pattern, inner)


def _resolved(known: DictConfig | ListConfig, name: Any) -> Any:
    """Return what the files have for a key; None, which lets anything pass, where that depends on what the command line changes."""
    try:
        return known[name]
    except InterpolationResolutionError:
        return None


_CHECKED_ELSEWHERE = ("hydra", "schedulers", "scheduler.search", "optimizer.search", "scheduler.args.schedulers")
_NULLABLE = ("scheduler.args.", "data.train_images", "final_train_images")


def _check_type(given: Any, known: Any, key: str) -> None:
    if known is None or (given is None and key.startswith(_NULLABLE)):
        return
    for kind, name in ((DictConfig, "a mapping"), (ListConfig, "a list")):
        if isinstance(given, kind) != isinstance(known, kind):
            raise ConfigError(f"{key}={given}: {name if isinstance(known, kind) else 'a single value'} is expected, such as {known}")
    if isinstance(known, DictConfig | ListConfig):
        _check_keys(given, known, key)
        return
    number = isinstance(given, int | float) and not isinstance(given, bool)
    fits = {
        bool: isinstance(given, bool),
        int: number and isinstance(given, int),
        float: number,
        str: given is not None and not isinstance(given, bool),  # "auto" or a number, a formula or a constant
    }
    if not fits[type(known)]:
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        raise ConfigError(f"{key}={'null' if given is None else given}: {names[type(known)]} is expected, such as {known}")


def check_targets(node: Any, section: str, allowed: Sequence[str]) -> None:
    """Raise ConfigError for a target inside a section of a config that is in none of the allowed places."""
    for key, target in _targets(node, section):
        if not any(str(target).startswith(f"{prefix}.") for prefix in allowed):
            raise ConfigError(f"{key}={target}: a target begins with one of {', '.join(allowed)}; others are let in by allow=[…]")


def _targets(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        inner = f"{key}.{name}".lstrip(".")
        if name == "_target_":
            yield inner, value
        yield from _targets(value, inner)
