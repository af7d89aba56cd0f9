"""A real sweep of several searches: topped up, resumed, published and verified."""

import shutil
from pathlib import Path

import pytest

from lrbench.analysis.folder import rank_folder
from lrbench.results.files import read_results
from tests.builders import without_times
from tests.conftest import Command
from tests.integration import stores

SEVERAL = ("executor=inline", "confirm=2", "final_neighbours=true", "tracking=none")


def _results(folder: Path) -> dict[str, dict[str, object]]:
    return {run.spec.key(): without_times(run) for run in read_results(folder / "runs" / "smoke" / "trials")}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, run_sweep: Command) -> Path:
    """The folder of a finished sweep with three searches, which tests only read."""
    folder = tmp_path_factory.mktemp("several")
    done = run_sweep(folder, *SEVERAL, "searches=3", "tracking=mlflow")
    assert done.returncode == 0, done.stderr
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


def test_each_search_has_its_seeds_its_choice_and_its_final_runs(several: Path) -> None:
    runs = read_results(several / "runs" / "smoke" / "trials")
    assert len(runs) == 2 * 3 * (3 + 2 + 2 + 2)
    seeds = {(run.spec.search, run.spec.phase, run.spec.seed) for run in runs}
    for search in range(3):
        first = 2000 * search
        here = {(phase, seed - first) for number, phase, seed in seeds if number == search}
        assert here == {
            ("search", 0), ("confirm", 1), ("final", 1000), ("final", 1001),
            ("half_rate", 1000), ("double_rate", 1000),
        }  # fmt: skip
    starts = {tuple(run.spec.sampled.items()) for run in runs if run.spec.phase == "search" and run.spec.trial == 1}
    assert len(starts) == 2 * 3  # each search draws other points


def test_the_sweep_ends_with_what_to_use(several: Path) -> None:
    text = (several / "stdout.txt").read_text()
    assert "30 search runs of 20 steps and 24 final runs of 22 steps, " in text
    assert "[54/54]" in text
    last = text[text.index("train the best:") :]
    assert "\nUse c" in last and "This scheduler, tuned by a search of 3 trials and 2 confirmation runs" in last


def test_searches_trials_and_seeds_that_are_added_later_give_the_same_ranking(
    several: Path, tmp_path: Path, run_sweep: Command
) -> None:
    """The runs of earlier choices stay in the folder, but do not count."""
    for overrides in (["searches=1", "n_trials=2", "final_seeds=1"], ["searches=2", "n_trials=2"], ["searches=3"]):
        done = run_sweep(tmp_path, *SEVERAL, *overrides)
        assert done.returncode == 0, done.stderr
    at_once, later = _results(several), _results(tmp_path)
    assert at_once.items() <= later.items()
    rows, expected = (rank_folder(folder / "runs" / "smoke").rows for folder in (tmp_path, several))
    assert [(row.scheduler, row.values, row.gap_to_best) for row in rows] == [
        (row.scheduler, row.values, row.gap_to_best) for row in expected
    ]


def test_what_is_missing_is_trained_again(several: Path, tmp_path: Path, run_sweep: Command) -> None:
    """The results of the second search and all confirmations are lost, and the journal too."""
    shutil.copytree(several / "runs", tmp_path / "runs")
    trials = tmp_path / "runs" / "smoke" / "trials"
    before = _results(tmp_path)
    for path in [*trials.glob("*-1-*.json"), *trials.glob("*-confirm-*.json")]:
        path.unlink(missing_ok=True)  # a name may match both
    (tmp_path / "runs" / "smoke" / "study.journal").unlink()
    assert len(_results(tmp_path)) < len(before)
    done = run_sweep(tmp_path, *SEVERAL, "searches=3")
    assert done.returncode == 0, done.stderr
    assert _results(tmp_path) == before


def test_every_search_has_a_study_and_every_run_is_in_mlflow(several: Path) -> None:
    names = {f"{name}{number}" for name in ("cosine", "cyclic") for number in ("", " search 1", " search 2")}
    assert set(stores.studies(several / "runs" / "smoke" / "study.journal")) == names
    published = stores.runs(f"sqlite:///{several / 'runs' / 'mlflow.db'}")
    assert len(published) == 54 + 2
    tags = [run.data.tags for run in published if run.data.tags["phase"] == "double_rate"]
    assert sorted(tag["search"] for tag in tags) == ["0", "0", "1", "1", "2", "2"]


def test_the_folder_of_an_older_version_does_not_take_other_searches(
    several: Path, tmp_path: Path, run_sweep: Command
) -> None:
    """Its config.yaml has neither key, and its trials were chosen without confirmation."""
    shutil.copytree(several / "runs", tmp_path / "runs")
    config = tmp_path / "runs" / "smoke" / "config.yaml"
    newer = ("startup_trials:", "confirm:", "searches:", "n_trials:", "final_seeds:")
    config.write_text("\n".join(line for line in config.read_text().splitlines() if not line.startswith(newer)))
    done = run_sweep(tmp_path, *SEVERAL, "searches=3")
    assert done.returncode == 2
    assert "confirm: 0 in the folder, 2 now" in done.stderr
    assert "startup_trials: 1 in the folder, 5 now" in done.stderr


def test_a_row_is_verified_over_all_of_its_searches(several: Path, tmp_path: Path, command: Command) -> None:
    shutil.copytree(several / "runs", tmp_path / "runs")
    done = command("report", "--verify", "runs/smoke", "cosine")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("identical\n") == 3 * 2
