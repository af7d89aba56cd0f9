"""Callbacks of a run that do nothing."""

from lrbench.results.result import Progress
from lrbench.spec import TrialSpec


def no_progress(spec: TrialSpec, progress: Progress) -> None:
    pass


def no_monitor() -> None:
    return None
