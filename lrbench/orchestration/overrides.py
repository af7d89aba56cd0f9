"""A run of a sweep as a command line of `lrbench.train`."""

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lrbench.config.compose import load_config
from lrbench.spec import Value

GROUPS = ("scheduler", "data", "model", "optimizer")
SECTIONS = (*GROUPS, "train", "device")


def as_overrides(cfg: DictConfig, sampled: Mapping[str, Value]) -> list[str]:
    """Return the overrides of `lrbench.train` that repeat a run, except its seed.

    `cfg` is the config of the run before its `sampled` values are set. The overrides are its groups
    and the values that differ from the config files.
    """
    choices = {group: f"{group}={cfg[group].name}" for group in GROUPS}
    defaults, files = load_config("config", []), load_config("config", list(choices.values()))
    groups = [choices[group] for group in GROUPS if group == "scheduler" or cfg[group].name != defaults[group].name]
    allow = [f"allow={_as_text(OmegaConf.to_container(cfg.allow))}"] if cfg.allow else []
    before, now = _leaves(files), _leaves(cfg)
    changes = {key: value for key, value in now.items() if key not in before or value != before[key]}
    values = [f"{key}={_as_text(value)}" for key, value in {**changes, **sampled}.items()]
    return [*groups, *allow, *values, *(f"~{key}" for key in before if key not in now)]


def _leaves(cfg: DictConfig) -> dict[str, Any]:
    """Return the unresolved values of a run by config key, without its search space."""
    leaves: dict[str, Any] = {}

    def add(node: Any, key: str) -> None:
        if not isinstance(node, dict):
            leaves[key] = node
            return
        for name, inner in node.items():
            if name != "search":
                add(inner, f"{key}.{name}")

    plain: Any = OmegaConf.to_container(cfg)
    for section in SECTIONS:
        add(plain[section], section)
    return leaves


def _as_text(value: Any) -> str:
    """Return a value in Hydra's grammar.

    >>> _as_text([None, True, 0.5, "cos"]), _as_text({"low": 1}), _as_text("final ** progress")
    ('[null,true,0.5,cos]', '{low:1}', '"final ** progress"')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(_as_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_as_text(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, str) and not _is_plain(value):
        escaped = value.replace('"', '\\"')
        return f'"{escaped}"'
    return str(value)


def _is_plain(text: str) -> bool:
    """Return True if Hydra reads the text as the same text without quotes."""
    words = ("true", "false", "null", "nan", "inf")
    return bool(re.fullmatch(r"[A-Za-z_][\w./-]*", text)) and text.lower() not in words
