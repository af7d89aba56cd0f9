"""Sweeps that are killed at random moments and in the middle of each kind of write end as
undisturbed ones do.
"""

from pathlib import Path

import pytest

from tests.integration import chaos

SWEEPS, KILLS = 1, 4  # `scripts/chaos` disturbs as many as its arguments say


@pytest.mark.timeout(1500)
def test_killed_sweeps_end_as_undisturbed_ones(tmp_path: Path, empty_store: Path) -> None:
    disturbed = chaos.Chaos(tmp_path, seed=0, store=empty_store)
    for _ in range(SWEEPS):
        disturbed.disturb(kills=KILLS)
    disturbed.tear(chaos.WRITES)
    disturbed.tear(chaos.NEW_STORE, new_store=True)
    outcome = disturbed.outcome
    assert outcome.losses == []
    kills = SWEEPS * KILLS + len(chaos.NEW_STORE) + len(chaos.WRITES)
    assert (outcome.sweeps, outcome.results, outcome.kills.total()) == (SWEEPS + 2, 10 * (SWEEPS + 2), kills)
