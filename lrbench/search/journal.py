"""Optuna's journal of a sweep, `study.journal`: opened, repaired, or rebuilt from the results."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from lrbench.search.space import Space
from lrbench.spec import Value
from lrbench.text import Log

LOCK_FILE_SUFFIX = ".lock"  # Optuna appends it to the journal's name
TrialValues = Mapping[str, Mapping[int, Mapping[str, Value]]]  # by scheduler and trial, the values of its finished runs


def open_journal(journal: Path, spaces: Mapping[str, Space], known: TrialValues, log: Log = print) -> JournalStorage:
    """Open the journal, or create it. The caller is its only user.

    A journal that is damaged, or disagrees with the finished runs, is set aside and rebuilt.
    Nothing is lost: `known` has the sampled values, and their scores are told again.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _repair(journal, log)
    storage = _storage(journal)
    for name in {study.study_name for study in storage.get_all_studies()} & spaces.keys():
        trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
        if not all(_is_consistent(trial, spaces[name], known.get(name, {}).get(trial.number, {})) for trial in trials):
            _set_aside(journal, "disagrees with the finished runs", log)
            return _storage(journal)
    return storage


def _is_consistent(trial: FrozenTrial, space: Space, known: Mapping[str, Value]) -> bool:
    """Return True if a stored trial is complete, agrees with its finished runs and did not fail."""
    if trial.state == TrialState.WAITING:
        return True
    drawn = {key for key, parameter in space.items() if parameter.applies(trial.params)}
    agrees = all(value == known.get(key, value) for key, value in trial.params.items())
    return trial.state != TrialState.FAIL and trial.params.keys() == drawn and agrees


def _storage(journal: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(journal), lock_obj=JournalFileOpenLock(str(journal))))


def _repair(journal: Path, log: Log) -> None:
    """Cut off a last line that a crash left incomplete. Set a file with other damage aside."""
    Path(f"{journal}{LOCK_FILE_SUFFIX}").unlink(missing_ok=True)  # of a killed process; Optuna would wait for 30 s
    if not journal.exists():
        return
    text = journal.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    try:
        for line in whole.splitlines():
            json.loads(line)
    except ValueError:
        _set_aside(journal, "is damaged", log)
        return
    if len(whole) < len(text):
        os.truncate(journal, len(whole))


def _set_aside(journal: Path, problem: str, log: Log) -> None:
    before = journal.replace(journal.with_name(f"{journal.name}.before"))
    log(f"{journal.name} {problem}; rebuilt from the results (old file: {before.name})")
