"""Callbacks of a run that do nothing."""

from collections.abc import Mapping
from typing import Any

from lrbench.spec import TrialSpec


def no_progress(spec: TrialSpec, progress: Mapping[str, Any]) -> None:
    pass


def no_monitor() -> None:
    return None
