"""Real sweeps that are killed at random moments, and in the middle of each kind of write, end as an
undisturbed sweep does.
"""

from pathlib import Path

import pytest

from tests.integration import chaos

KILLS = 2
# One function writes all of these files as it writes report.md, a checkpoint or a result.
# `scripts/chaos 10 --writes` tears every file, and a new store of MLflow, in many more sweeps.
SAME = ("a checkpoint's name", "results.jsonl", "results.csv", "report.html")
WRITES = {name: write for name, write in chaos.WRITES.items() if name not in SAME}


@pytest.mark.timeout(1500)
def test_killed_sweeps_end_as_an_undisturbed_one(tmp_path: Path, empty_store: Path) -> None:
    disturbed = chaos.Chaos(tmp_path, seed=0, store=empty_store)
    disturbed.disturb(KILLS)
    disturbed.tear(WRITES)
    outcome = disturbed.outcome
    assert outcome.losses == []
    assert (outcome.sweeps, outcome.results, outcome.kills.total()) == (2, 40, KILLS + len(WRITES))
