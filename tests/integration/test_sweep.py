"""A real sweep, from the command to the report and back out of MLflow."""

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from lrbench.analysis.ranking import rank_schedulers
from lrbench.results import provenance
from lrbench.results.files import read_results
from lrbench.results.selection import runs_of_phase
from lrbench.tracking.mlflow_client import open_client
from tests.builders import without_times
from tests.conftest import SMALL, SWEEP, Command
from tests.integration import stores
from tests.integration.servers import Server

INLINE = "executor=inline"  # without worker processes, if the test is not about them


def test_leaves_what_the_readme_says(swept: Path) -> None:
    left = {path.name for path in (swept / "runs" / "smoke").iterdir()}
    assert left >= {
        "config.yaml",
        "study.journal",
        "trials",
        "results.jsonl",
        "results.csv",
        "report.md",
        "report.html",
        "starts.jsonl",
        "pictures",
        "logs",
    }
    said = (swept / "stdout.txt").read_text()
    for part in (
        "6 search runs of 20 steps and 4 final runs of 22 steps, ",
        "[10/10]",
        "runs/smoke/report.md",
        "lrbench.ui   (then open http://127.0.0.1:5000/#/experiments/1/runs?",
        "lrbench.train scheduler=",
    ):
        assert part in said
    assert len((swept / "runs" / "smoke" / "results.jsonl").read_text().splitlines()) == 10


def test_protocol(swept: Path) -> None:
    found = read_results(swept / "runs" / "smoke" / "trials")
    for scheduler in ("cosine", "cyclic"):
        searched, final = (runs_of_phase(found, scheduler, phase) for phase in ("search", "final"))
        assert [run.spec.trial for run in searched] == [0, 1, 2]
        assert {run.spec.seed for run in searched}.isdisjoint({run.spec.seed for run in final})
        assert [run.spec.seed for run in final] == [1000, 1001]
        assert all("test/accuracy" not in run.curves for run in searched)
        best = max(searched, key=lambda run: run.last("val/accuracy"))
        assert all(run.spec.sampled == best.spec.sampled for run in final)
        assert searched[0].spec.optimizer.lr == 0.5
        assert len({run.spec.optimizer.lr for run in searched}) == 3
        assert all(run.spec.data.train_images == 704 for run in final)  # the held-out images too


def test_report(swept: Path) -> None:
    text = (swept / "runs" / "smoke" / "report.md").read_text()
    for part in (
        "| 1-2 | ",
        "cosine",
        "cyclic",
        "cannot show a difference: at least 6 are needed",
        "pictures/lr.png",
        "pictures/final.png",
        "3 trials for each scheduler",
    ):
        assert part in text
    for line in text.splitlines():
        if line.startswith("!["):
            picture = swept / "runs" / "smoke" / line.partition("(")[2].rstrip(")")
            assert picture.read_bytes().startswith(b"\x89PNG")


def test_report_command_makes_the_same_report(swept: Path, tmp_path: Path, command: Command) -> None:
    shutil.copytree(swept / "runs", tmp_path / "runs")
    before = (tmp_path / "runs" / "smoke" / "report.md").read_text()
    done = command("report", "runs/smoke")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "smoke" / "report.md").read_text() == before


def test_ranking_pairs_seeds(swept: Path) -> None:
    first, second = rank_schedulers(read_results(swept / "runs" / "smoke" / "trials")).rows
    assert first.mean.mean >= second.mean.mean
    assert first.gap_to_best.difference == (0, 0, 0)
    by_hand = [a.last("test/accuracy") - b.last("test/accuracy") for a, b in zip(first.runs, second.runs, strict=True)]
    assert second.gap_to_best.difference.mean == pytest.approx(sum(by_hand) / 2)
    assert second.relation == "undecided"


def test_every_start_is_written_down(swept: Path) -> None:
    (start, *_) = provenance.starts(swept / "runs" / "smoke")
    assert start.command.startswith("python -m lrbench.sweep data=synthetic")
    assert start.command in (swept / "runs" / "smoke" / "report.md").read_text()


def test_mlflow_has_every_run_with_its_curves(swept: Path) -> None:
    uri = f"sqlite:///{swept / 'runs' / 'mlflow.db'}"
    client, everything = open_client(uri), stores.runs(uri)
    artifacts = {run.info.run_id: {item.path for item in client.list_artifacts(run.info.run_id)} for run in everything}
    experiment = client.get_experiment_by_name("smoke")
    assert experiment is not None
    assert experiment.artifact_location == (swept / "runs" / "mlartifacts" / "smoke").as_uri()
    parents = {run.info.run_id: run for run in everything if run.data.tags["phase"] == "sweep"}
    children = [run for run in everything if run.info.run_id not in parents]
    assert sorted(run.data.tags["scheduler"] for run in parents.values()) == ["cosine", "cyclic"]
    for run_id, run in parents.items():
        assert {"best.yaml", "report.md", "report.html", "pictures"} <= artifacts[run_id]
        assert {"lr", "train/loss", "test/accuracy"} <= run.data.metrics.keys()
    results = {result.spec.key(): result for result in read_results(swept / "runs" / "smoke" / "trials")}
    assert {run.data.tags["lrbench.key"] for run in children} == set(results)
    for run in children:
        tags, result = run.data.tags, results[run.data.tags["lrbench.key"]]
        spec = result.spec
        assert run.info.status == "FINISHED"
        assert (tags["scheduler"], tags["phase"], tags["seed"]) == (spec.scheduler.name, spec.phase, str(spec.seed))
        assert (tags["trial"], tags["state"]) == (str(spec.trial), "finished")
        assert parents[tags["mlflow.parentRunId"]].data.tags["scheduler"] == tags["scheduler"]
        assert artifacts[run.info.run_id] == {"config.yaml"}
        points = {name: list(zip(curve.steps, curve.values, strict=True)) for name, curve in result.curves.items()}
        assert stores.curves(uri, run) == points


def test_the_same_command_again_trains_nothing(swept: Path, tmp_path: Path, run_sweep: Command) -> None:
    shutil.copytree(swept / "runs", tmp_path / "runs")
    trials = tmp_path / "runs" / "smoke" / "trials"
    before = {path.name: path.stat().st_mtime_ns for path in trials.iterdir()}
    done = run_sweep(tmp_path, INLINE)
    assert done.returncode == 0, done.stderr
    assert "[10/10]" not in done.stdout
    assert {path.name: path.stat().st_mtime_ns for path in trials.iterdir()} == before


def test_more_trials_are_the_difference(swept: Path, tmp_path: Path, run_sweep: Command) -> None:
    shutil.copytree(swept / "runs", tmp_path / "runs")
    done = run_sweep(tmp_path, INLINE, "n_trials=4", "tracking.uri=http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "MLflow lacks some runs" in done.stdout
    trained = {path.name for path in (tmp_path / "runs" / "smoke" / "trials").glob("*-search-*")}
    kept = {path.name for path in (swept / "runs" / "smoke" / "trials").glob("*-search-*")}
    assert trained > kept
    assert len(trained) == 8


def test_another_config_under_the_same_name_stops_with_the_difference(swept: Path, run_sweep: Command) -> None:
    done = run_sweep(swept, "train.epochs=2")
    assert done.returncode == 2
    assert "train.epochs: 1.0 in the folder, 2 now" in done.stderr
    assert "name=" in done.stderr


def test_workers_and_inline_make_the_same_results(swept: Path, tmp_path: Path, run_sweep: Command) -> None:
    done = run_sweep(tmp_path, INLINE)
    assert done.returncode == 0, done.stderr
    here, there = (
        {run.spec.key(): without_times(run) for run in read_results(folder / "runs" / "smoke" / "trials")}
        for folder in (tmp_path, swept)
    )
    assert here == there


def test_without_its_journal_and_its_store_it_comes_back_from_the_results(
    swept: Path, tmp_path: Path, run_sweep: Command
) -> None:
    """Nothing is trained. The studies and the runs in MLflow are the same as before."""
    shutil.copytree(swept / "runs", tmp_path / "runs")
    runs = tmp_path / "runs"
    before = stores.studies(runs / "smoke" / "study.journal")
    (runs / "smoke" / "study.journal").unlink()
    (runs / "mlflow.db").unlink()
    shutil.rmtree(runs / "mlartifacts")
    done = run_sweep(tmp_path, INLINE)
    assert done.returncode == 0, done.stderr
    assert "[10/10]" not in done.stdout
    assert stores.studies(runs / "smoke" / "study.journal") == before
    assert _published(runs) == _published(swept / "runs") == 12


def test_a_journal_of_another_study_is_rebuilt_with_a_message(swept: Path, tmp_path: Path, run_sweep: Command) -> None:
    shutil.copytree(swept / "runs", tmp_path / "runs")
    journal = tmp_path / "runs" / "smoke" / "study.journal"
    before = stores.studies(journal)
    journal.write_text(journal.read_text().replace("optimizer.lr", "optimizer.weight_decay"))
    done = run_sweep(tmp_path, INLINE)
    assert done.returncode == 0, done.stderr
    assert (
        "study.journal disagrees with the finished runs; rebuilt from the results (old file: study.journal.before)"
        in done.stdout
    )
    assert "[10/10]" not in done.stdout
    assert stores.studies(journal) == before
    assert "weight_decay" in journal.with_name("study.journal.before").read_text()


def test_sync_publishes_what_is_missing_and_nothing_twice(swept: Path, tmp_path: Path, command: Command) -> None:
    shutil.copytree(swept / "runs" / "smoke", tmp_path / "runs" / "smoke")
    for _ in range(2):
        done = command("sync", "runs/smoke")
        assert done.returncode == 0, done.stderr
        assert _published(tmp_path / "runs") == 12
    refused = command("sync", "runs/smoke", "--uri", "http://127.0.0.1:9")
    assert refused.returncode == 1
    assert "MLflow lacks some runs" in refused.stderr


def test_a_server_that_dies_in_the_middle_loses_nothing(
    swept: Path, tmp_path: Path, run_sweep: Command, empty_store: Path
) -> None:
    """The sweep ends without it; once it is there again, the same command publishes what it lacks
    and trains nothing.
    """
    (tmp_path / "server").mkdir()
    trials = tmp_path / "runs" / "smoke" / "trials"
    with Server(tmp_path / "server", empty_store) as server:
        command = [sys.executable, "-m", "lrbench.sweep", *SMALL, *SWEEP, INLINE, f"tracking.uri={server.url}"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not _there(tmp_path / "server" / "server.db", 2):
            time.sleep(0.02)
        server.kill()
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert "MLflow lacks some runs" in said
        assert len(list(trials.glob("*.json"))) == 10
        server.start()
        assert len(_finished(server.url)) < 12
        done = run_sweep(tmp_path, INLINE, f"tracking.uri={server.url}")
        assert done.returncode == 0, done.stderr
        assert "[10/10]" not in done.stdout and "MLflow lacks some runs" not in done.stdout
        assert _finished(server.url) == _finished(f"sqlite:///{swept / 'runs' / 'mlflow.db'}")
    assert not (tmp_path / "runs" / "mlflow.db").exists()


def _there(store: Path, runs: int) -> bool:
    """Return whether a server's store has so many runs of trainings that have ended."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        ended = "select count(*) from runs join tags using (run_uuid) where key = 'lrbench.key' and status = 'FINISHED'"
        return bool(connection.execute(ended).fetchone()[0] >= runs)


def _finished(uri: str) -> list[tuple[str | None, stores.Curves]]:
    """Return the keys and the curves of the finished runs of a store."""
    return [(key, curves) for key, status, curves in stores.published(uri) if status == "FINISHED"]


MOODY = """
import os, signal
import numpy as np

def moody(step, total_steps, *, level):
    if level == 2 and os.environ.get("MOODY"):
        raise MemoryError("no memory for level 2")
    if level == 3 and os.environ.get("MOODY"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return np.full(step.shape, 1 / level)
"""
MOODY_YAML = """name: moody
_target_: moody.moody
interval: step
knobs: {}
args: {level: 1}
search: {args: {level: {low: 1, high: 3}}}
"""


@pytest.mark.usefixtures("stored")
def test_runs_that_fail_end_alone_and_are_tried_again(tmp_path: Path, command: Command) -> None:
    """A run that raises and one that takes its worker with it: the others end, and once the reason
    is gone, so do these.
    """
    (tmp_path / "own" / "scheduler").mkdir(parents=True)
    (tmp_path / "own" / "scheduler" / "moody.yaml").write_text(MOODY_YAML)
    (tmp_path / "moody.py").write_text(MOODY)
    own = ("allow=[moody]", "schedulers=[moody]", "~optimizer.search.lr", "n_trials=6", "final_seeds=1")
    done = command("sweep", "--config-dir", "own", *SMALL, *SWEEP, *own, MOODY="1")
    assert done.returncode == 1, done.stdout + done.stderr
    for part in (
        "failed: MemoryError: no memory for level 2",
        "its worker process died 3 times; last cause: SIGSEGV; see ",
        "2 runs failed",
    ):
        assert part in done.stdout
    trials = tmp_path / "runs" / "smoke" / "trials"
    assert len(before := {path.name: path.read_bytes() for path in trials.glob("*.json")}) == 2
    published = [run.data.tags for run in stores.runs(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")]
    failed = sorted(tags["reason"] for tags in published if tags.get("state") == "failed")
    assert failed[0] == "MemoryError: no memory for level 2" and failed[1].startswith(
        "its worker process died 3 times; last cause: SIGSEGV"
    )
    done = command("sweep", "--config-dir", "own", *SMALL, *SWEEP, *own)
    assert done.returncode == 0, done.stderr
    after = {path.name: path.read_bytes() for path in trials.glob("*.json")}
    assert len(after) >= 4 and before.items() <= after.items()
    (states,) = stores.studies(tmp_path / "runs" / "smoke" / "study.journal").values()
    assert [state for state, _, _ in states] == ["COMPLETE"] * 6


def test_fresh_moves_the_old_folder_aside(swept: Path, tmp_path: Path, run_sweep: Command) -> None:
    shutil.copytree(swept / "runs", tmp_path / "runs")
    done = run_sweep(tmp_path, INLINE, "train.epochs=2", "n_trials=1", "final_seeds=1", "fresh=true")
    assert done.returncode == 0, done.stderr
    old, new = (read_results(tmp_path / "runs" / name / "trials") for name in ("smoke.1", "smoke"))
    assert (len(old), len(new)) == (10, 4)
    assert {run.spec.train.epochs for run in new} == {2.0}


def _published(runs: Path) -> int:
    """Return the number of runs in a store, all of which have ended."""
    found = stores.published(f"sqlite:///{runs / 'mlflow.db'}")
    assert {status for _, status, _ in found} == {"FINISHED"}
    return len(found)


@pytest.mark.parametrize(
    "space",
    [
        ["optimizer.search.lr.low=0.5", "optimizer.search.lr.high=0.5"],
        ["scheduler.search.args={cycles: {low: 3, high: 3}, decay: {choices: [0.5]}}"],
        ["optimizer.search.lr=null", "scheduler.search=null"],
    ],
    ids=["rate", "count and choice", "nothing"],
)
def test_a_space_of_one_value_has_a_report(command: Command, tmp_path: Path, space: list[str]) -> None:
    sizes = ["n_trials=10", "searches=2", "final_neighbours=true", "tracking=none"]
    done = command("sweep", "sweep=smoke", *SMALL, *sizes, "schedulers=[cosine_decaying_restarts]", *space)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "smoke" / "report.html").exists()
