"""From YAML to a TrialSpec: compose a config, apply the user's changes, and check them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationResolutionError

from lrbench.config.lengths import steps_per_epoch, total_steps, train_images
from lrbench.config.resolvers import explain_interpolation, register_resolvers
from lrbench.config.targets import check_targets
from lrbench.config.validation import check_keys, suggestion
from lrbench.spec import ConfigError, DataSpec, ModelSpec, OptimizerSpec, SchedulerSpec, TrainSpec, TrialSpec, validated


def load_config(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose a config, and check the user's keys and types against the config files.

    Hydra must be initialized. Raises ConfigError, or an error of Hydra.
    """
    register_resolvers()
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    groups = GlobalHydra.instance().config_loader().list_groups("")
    choices = [override for override in parsed if override.key_or_group in groups or _is_nested(override.key_or_group)]
    known = compose(config_name, [override.input_line or "" for override in choices])
    cfg = known.copy()
    for override in parsed:
        if override not in choices:
            _apply(cfg, override)
    check_keys(cfg, known, "")
    return cfg


def parse_spec(cfg: DictConfig, sampled: Mapping[str, Any] | None = None, **labels: Any) -> TrialSpec:
    """Return the run that a config describes. The config stays unchanged.

    `sampled` maps config keys to values that replace the config's values. `labels` are fields of
    TrialSpec that replace the config's: seed, phase, trial. Raises ConfigError.
    """
    cfg, sampled = cfg.copy(), dict(sampled or {})
    for key, value in sampled.items():
        OmegaConf.update(cfg, key, value)
    for section in ("scheduler", "optimizer", "model", "data"):
        check_targets(OmegaConf.to_container(cfg[section]), section, cfg.allow)
    optimizer = validated(OptimizerSpec, _resolved_section(cfg, "optimizer"), "optimizer")
    data = _resolved_section(cfg, "data") | {"train_images": train_images(cfg)}
    data.pop("root", None)  # a folder of the machine, not a part of the run
    length = {"total_steps": total_steps(cfg), "steps_per_epoch": steps_per_epoch(cfg)}
    values = {
        "optimizer": optimizer,
        "data": validated(DataSpec, data, "data"),
        "train": validated(TrainSpec, _resolved_section(cfg, "train") | length, "train"),
        "scheduler": validated(SchedulerSpec, _resolved_section(cfg, "scheduler"), "scheduler"),
        "model": validated(ModelSpec, _resolved_section(cfg, "model"), "model"),
        **{key: cfg[key] for key in ("seed", "device", "phase")},
        "sampled": sampled,
    }
    return validated(TrialSpec, values | labels, "")


def group_options(group: str) -> list[str]:
    """Return the names in a config group, such as `scheduler`. Empty for any other key."""
    return list(GlobalHydra.instance().config_loader().get_group_options(group))


def _is_nested(key: str) -> bool:
    """Return whether the key is a group inside a group, such as `hydra/job_logging`."""
    return "/" in key and bool(group_options(key))


def _apply(cfg: DictConfig, override: Override) -> None:
    """Make one change of the command line to a composed config, as Hydra would."""
    key = override.key_or_group
    with open_dict(cfg):
        if override.is_delete():
            _delete(cfg, key)
        elif "search" in key.split("."):
            _change_search(cfg, key, override.value())
        else:
            OmegaConf.update(cfg, key, override.value())


def _delete(cfg: DictConfig, key: str) -> None:
    section, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, section) if section else cfg
    if not isinstance(node, DictConfig) or name not in node:
        raise ConfigError(f"unknown key {key}{suggestion(name, list(node) if isinstance(node, DictConfig) else [])}")
    node.pop(name)


def _change_search(cfg: DictConfig, key: str, value: Any) -> None:
    """Change a search space, or a part of one.

    An empty mapping removes the part. Choices and a range replace each other. In all other cases, a
    mapping changes only the keys that it has.
    """
    before = OmegaConf.select(cfg, key)
    is_mapping = isinstance(value, dict) and bool(value) and isinstance(before, DictConfig)
    if is_mapping and not {"choices", "low", "high"} & before.keys():
        for name, inner in value.items():
            _change_search(cfg, f"{key}.{name}", inner)
        return
    keeps_kind = is_mapping and ("choices" in value) == ("choices" in before)
    if before is not None and not keeps_kind:
        OmegaConf.update(cfg, key, None)
    OmegaConf.update(cfg, key, value)


def _resolved_section(cfg: DictConfig, section: str) -> dict[str, Any]:
    """Return a section of the config as plain data, resolved, without its search space."""
    try:
        plain = OmegaConf.to_container(cfg[section], resolve=True)
    except InterpolationResolutionError as error:
        key = error.full_key or ""
        raise ConfigError(explain_interpolation(error, f"{key}={_unresolved(cfg, key)}")) from error
    return dict(_without_search(plain))


def _unresolved(cfg: DictConfig, full_key: str) -> Any:
    """Return the text of a value as the config has it, such as `${steps:0.5}`."""
    node: Any = OmegaConf.to_container(cfg, resolve=False)
    for name in re.findall(r"\w+", full_key):  # a key such as scheduler.args.milestones[0]
        node = node[int(name)] if isinstance(node, list) else node[name]
    return node


def _without_search(node: Any) -> Any:
    """Return plain data without search spaces, also those inside a composite's members."""
    if isinstance(node, list):
        return [_without_search(item) for item in node]
    if isinstance(node, dict):
        return {str(key): _without_search(value) for key, value in node.items() if key != "search"}
    return node
