from pathlib import Path

import pytest

from lrbench.reporting.report import write_report
from lrbench.results.provenance import record_start
from lrbench.results.result import TrialResult
from tests.builders import Run, eight, sweep_folder


@pytest.fixture(scope="session")
def report_folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep's folder with its report, which tests only read.

    Three schedulers have twelve trials and eight final runs each. The last final run diverged.
    """
    results = []
    for number, name in enumerate(("cosine", "rex", "constant")):
        results += [_trial(run, name, trial) for trial in range(12)]
        accuracies = eight(0.8 - 0.02 * number, 0.001 * number)
        results += [_final_run(run, name, 1000 + place, value) for place, value in enumerate(accuracies)]
    results[-1] = results[-1].model_copy(update={"state": "diverged"})
    folder = sweep_folder(tmp_path_factory.mktemp("report"), results)
    record_start(folder, "/somewhere/.venv/bin/python -m lrbench.sweep name=tiny 'schedulers=[cosine,rex]'")
    write_report(folder)
    return folder


def _trial(run: Run, name: str, trial: int) -> TrialResult:
    """Return a run of the search. Trial 7 has the highest accuracy."""
    floor = 0.015 * (trial * 5 % 12)
    accuracy = 0.6 - 0.02 * abs(trial - 7) - 0.1 * floor
    return run(name, "search", trial, 0, validation=[accuracy - 0.2, accuracy], lr=0.05 * 1.35**trial, floor=floor)


def _final_run(run: Run, name: str, seed: int, accuracy: float) -> TrialResult:
    validation, best_lr, best_floor = [0.5, accuracy - 0.01], 0.05 * 1.35**7, 0.015 * 11
    return run(name, trial=7, seed=seed, validation=validation, test=accuracy, lr=best_lr, floor=best_floor)
