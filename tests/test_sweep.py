"""A real sweep, from the command to the report and back out of MLflow."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from lrbench import comparison, provenance, results
from tests import chaos
from tests.conftest import SMALL, SWEEP, run_sweep
from tests.servers import Server

pytestmark = pytest.mark.xdist_group("sweep")


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
        "10 runs of",
        "[10/10]",
        "runs/smoke/report.md",
        "lrbench.ui   (then open http://127.0.0.1:5000/#/experiments/1/runs?",
        "lrbench.train scheduler=",
    ):
        assert part in said
    assert len((swept / "runs" / "smoke" / "results.jsonl").read_text().splitlines()) == 10


def test_protocol(swept: Path) -> None:
    found = results.read_all(swept / "runs" / "smoke" / "trials")
    for scheduler in ("cosine", "cyclic"):
        searched, final = (results.of_phase(found, scheduler, phase) for phase in ("search", "final"))
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
        "too few to claim",
        "pictures/lr.png",
        "pictures/final.png",
        "3 trials for each scheduler",
    ):
        assert part in text
    for line in text.splitlines():
        if line.startswith("!["):
            picture = swept / "runs" / "smoke" / line.partition("(")[2].rstrip(")")
            assert picture.read_bytes().startswith(b"\x89PNG")


def test_report_command_makes_the_same_report(swept: Path) -> None:
    before = (swept / "runs" / "smoke" / "report.md").read_text()
    done = subprocess.run([sys.executable, "-m", "lrbench.report", "runs/smoke"], cwd=swept, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (swept / "runs" / "smoke" / "report.md").read_text() == before


def test_ranking_pairs_seeds(swept: Path) -> None:
    first, second = comparison.ranking(results.read_all(swept / "runs" / "smoke" / "trials")).rows
    assert first.mean.mean >= second.mean.mean
    assert first.behind.difference == (0, 0, 0)
    by_hand = [a.last("test/accuracy") - b.last("test/accuracy") for a, b in zip(first.runs, second.runs, strict=True)]
    assert second.behind.difference.mean == pytest.approx(sum(by_hand) / 2)
    assert second.tied


def test_every_start_is_written_down(swept: Path) -> None:
    (start, *_) = provenance.starts(swept / "runs" / "smoke")
    assert start.command.startswith("python -m lrbench.sweep data=synthetic")
    assert start.command in (swept / "runs" / "smoke" / "report.md").read_text()


def test_mlflow_has_every_run_with_its_curves(swept: Path) -> None:
    code = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
experiment = client.get_experiment_by_name("smoke")
runs = client.search_runs([experiment.experiment_id])
out = []
for run in runs:
    history = {name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics}
    artifacts = [item.path for item in client.list_artifacts(run.info.run_id)]
    out.append({"tags": run.data.tags, "status": run.info.status, "id": run.info.run_id, "history": history, "artifacts": artifacts})
print(json.dumps({"artifact_location": experiment.artifact_location, "runs": out}))
"""
    uri = f"sqlite:///{swept / 'runs' / 'mlflow.db'}"
    done = subprocess.run(
        [sys.executable, "-c", code, uri], capture_output=True, text=True, timeout=120, env={**os.environ, "DO_NOT_TRACK": "true"}
    )
    assert done.returncode == 0, done.stderr
    store = json.loads(done.stdout.splitlines()[-1])
    assert store["artifact_location"] == (swept / "runs" / "mlartifacts" / "smoke").as_uri()
    parents = {run["id"]: run for run in store["runs"] if run["tags"]["phase"] == "sweep"}
    children = [run for run in store["runs"] if run["tags"]["phase"] != "sweep"]
    assert sorted(run["tags"]["scheduler"] for run in parents.values()) == ["cosine", "cyclic"]
    assert all({"best.yaml", "report.md", "report.html", "pictures"} <= set(run["artifacts"]) for run in parents.values())
    assert all({"lr", "train/loss", "test/accuracy"} <= set(run["history"]) for run in parents.values())
    found = {result.spec.key(): result for result in results.read_all(swept / "runs" / "smoke" / "trials")}
    assert {run["tags"]["lrbench.key"] for run in children} == set(found)
    for run in children:
        result, tags = found[run["tags"]["lrbench.key"]], run["tags"]
        assert run["status"] == "FINISHED"
        assert (tags["scheduler"], tags["phase"], tags["seed"]) == (result.spec.scheduler.name, result.spec.phase, str(result.spec.seed))
        assert (tags["trial"], tags["state"]) == (str(result.spec.trial), "finished")
        assert parents[tags["mlflow.parentRunId"]]["tags"]["scheduler"] == tags["scheduler"]
        assert set(run["artifacts"]) == {"config.yaml"}
        assert set(run["history"]) == set(result.curves)
        for name, curve in result.curves.items():
            assert run["history"][name] == [[step, value] for step, value in zip(curve.steps, curve.values, strict=True)]


def test_the_same_command_again_trains_nothing(swept: Path) -> None:
    trials = swept / "runs" / "smoke" / "trials"
    before = {path.name: path.stat().st_mtime_ns for path in trials.iterdir()}
    done = run_sweep(swept)
    assert done.returncode == 0, done.stderr
    assert "[10/10]" not in done.stdout
    assert {path.name: path.stat().st_mtime_ns for path in trials.iterdir()} == before


def test_more_trials_are_the_difference(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept / "runs", tmp_path / "runs")
    done = run_sweep(tmp_path, "n_trials=4", "tracking.uri=http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "MLflow does not have all runs" in done.stdout
    trained = {path.name for path in (tmp_path / "runs" / "smoke" / "trials").glob("*-search-*")}
    kept = {path.name for path in (swept / "runs" / "smoke" / "trials").glob("*-search-*")}
    assert trained > kept
    assert len(trained) == 8


def test_another_config_under_the_same_name_stops_with_the_difference(swept: Path) -> None:
    done = run_sweep(swept, "train.epochs=2")
    assert done.returncode == 2
    assert "train.epochs: 1.0 there, 2 now" in done.stderr
    assert "name=" in done.stderr


def test_workers_and_inline_make_the_same_results(swept: Path, tmp_path: Path) -> None:
    done = run_sweep(tmp_path, "executor=inline")
    assert done.returncode == 0, done.stderr
    here, there = (
        {run.spec.key(): run.without_times() for run in results.read_all(folder / "runs" / "smoke" / "trials")}
        for folder in (tmp_path, swept)
    )
    assert here == there


def test_interrupted_and_started_again_it_ends_the_same(swept: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lrbench.sweep", *SMALL, *SWEEP]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    trials = tmp_path / "runs" / "smoke" / "trials"
    deadline = time.monotonic() + 120
    while len(list(trials.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "To go on:" in errors
    assert 3 <= len(list(trials.glob("*.json"))) < 10
    assert run_sweep(tmp_path).returncode == 0
    here, there = (
        {run.spec.key(): run.without_times() for run in results.read_all(folder)} for folder in (trials, swept / "runs/smoke/trials")
    )
    assert here == there


def test_without_its_journal_and_its_store_it_comes_back_from_the_results(swept: Path, tmp_path: Path) -> None:
    """Nothing is trained; the studies and the runs in MLflow are what they were."""
    shutil.copytree(swept / "runs", tmp_path / "runs")
    runs = tmp_path / "runs"
    before = _studies(runs / "smoke" / "study.journal")
    (runs / "smoke" / "study.journal").unlink()
    (runs / "mlflow.db").unlink()
    shutil.rmtree(runs / "mlartifacts")
    done = run_sweep(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "[10/10]" not in done.stdout
    assert _studies(runs / "smoke" / "study.journal") == before
    assert _published(runs) == _published(swept / "runs") == 12


def test_a_journal_of_another_study_is_made_anew_and_said_so(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept / "runs", tmp_path / "runs")
    journal = tmp_path / "runs" / "smoke" / "study.journal"
    before = _studies(journal)
    journal.write_text(journal.read_text().replace("optimizer.lr", "optimizer.weight_decay"))
    done = run_sweep(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "study.journal says other than the runs; it is made anew from the results; the old one is study.journal.before" in done.stdout
    assert "[10/10]" not in done.stdout
    assert _studies(journal) == before
    assert "weight_decay" in journal.with_name("study.journal.before").read_text()


def test_sync_publishes_what_is_missing_and_nothing_twice(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept / "runs" / "smoke", tmp_path / "runs" / "smoke")
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "lrbench.sync", "runs/smoke"], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert _published(tmp_path / "runs") == 12
    refused = subprocess.run(
        [sys.executable, "-m", "lrbench.sync", "runs/smoke", "--uri", "http://127.0.0.1:9"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "MLflow does not have all runs" in refused.stderr


def test_a_server_that_dies_in_the_middle_loses_nothing(swept: Path, tmp_path: Path) -> None:
    """The sweep ends without it; once it is there again, the same command publishes what it lacks and trains nothing."""
    (tmp_path / "server").mkdir()
    trials = tmp_path / "runs" / "smoke" / "trials"
    with Server(tmp_path / "server") as server:
        command = [sys.executable, "-m", "lrbench.sweep", *SMALL, *SWEEP, f"tracking.uri={server.url}"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not _there(tmp_path / "server" / "server.db", 2):
            time.sleep(0.02)
        server.kill()
        said, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert "MLflow does not have all runs" in said
        assert len(list(trials.glob("*.json"))) == 10
        server.start()
        assert len(_finished(server.url)) < 12
        done = run_sweep(tmp_path, f"tracking.uri={server.url}")
        assert done.returncode == 0, done.stderr
        assert "[10/10]" not in done.stdout and "MLflow does not have" not in done.stdout
        assert _finished(server.url) == _finished(f"sqlite:///{swept / 'runs' / 'mlflow.db'}")
    assert not (tmp_path / "runs" / "mlflow.db").exists()


def _there(store: Path, runs: int) -> bool:
    """Return whether a server's store has so many runs of trainings that have ended."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        ended = "select count(*) from runs join tags using (run_uuid) where key = 'lrbench.key' and status = 'FINISHED'"
        return bool(connection.execute(ended).fetchone()[0] >= runs)


def _finished(uri: str) -> Sequence[object]:
    """Return the runs of a store with the steps of their curves, which no point is twice in."""
    found = [(key, {name: [step for step, _ in points] for name, points in curves.items()}) for key, status, curves in chaos.published(uri)
             if status == "FINISHED"]  # fmt: skip
    assert all(len(steps) == len(set(steps)) for _, curves in found for steps in curves.values())
    return found


def _two_workers(process: "subprocess.Popen[str]") -> list[int]:
    """Waits until a sweep has its two workers, and returns the numbers of their processes."""
    workers: list[int] = []
    while process.poll() is None and len(workers) < 2:
        time.sleep(0.05)
        workers = chaos.workers(process.pid)
    return workers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["SIGTERM", "SIGHUP"])
def test_a_signal_to_end_is_an_interrupt(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "lrbench.sweep", *SMALL, *SWEEP, "train.epochs=500"]
    heeded = partial(signal.signal, number, signal.SIG_DFL)  # also where the tests run under nohup, which has it ignored
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heeded)
    workers = _two_workers(process)
    holder = (tmp_path / "runs" / "smoke" / "sweep.holder").read_text()
    second = run_sweep(tmp_path, "train.epochs=500")
    assert second.returncode == 2
    assert second.stderr.startswith(f"error: runs/smoke: another sweep is at work there ({holder})")
    assert f"process {process.pid} on " in holder
    process.send_signal(number)
    begun = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.startswith("interrupted; what is finished is safe. To go on: ")) == (130, True)
    assert time.monotonic() - begun < 10
    assert len(workers) == 2 and not any(Path(f"/proc/{worker}").exists() for worker in workers)


def test_workers_end_with_their_coordinator(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lrbench.sweep", *SMALL, *SWEEP, "train.epochs=500"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    workers = _two_workers(process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert process.stderr is not None
    process.stderr.close()


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
MOODY_YAML = "name: moody\n_target_: moody.moody\ninterval: step\nknobs: {}\nargs: {level: 1}\nsearch: {args: {level: {low: 1, high: 3}}}\n"


def test_runs_that_fail_end_alone_and_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that raises and one that takes its worker with it: the others end, and once the reason is gone, so do these."""
    (tmp_path / "own" / "scheduler").mkdir(parents=True)
    (tmp_path / "own" / "scheduler" / "moody.yaml").write_text(MOODY_YAML)
    (tmp_path / "moody.py").write_text(MOODY)
    own = ("allow=[moody]", "schedulers=[moody]", "~optimizer.search.lr", "n_trials=6", "final_seeds=1")
    command = [sys.executable, "-m", "lrbench.sweep", "--config-dir", "own", *SMALL, *SWEEP, *own]

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280)

    monkeypatch.setenv("MOODY", "1")
    done = run()
    assert done.returncode == 1, done.stdout + done.stderr
    for part in (
        "failed: MemoryError: no memory for level 2",
        "its worker process died 3 times, at last by SIGSEGV; see ",
        "2 runs failed",
    ):
        assert part in done.stdout
    trials = tmp_path / "runs" / "smoke" / "trials"
    assert len(before := {path.name: path.read_bytes() for path in trials.glob("*.json")}) == 2
    failed = sorted(tags["reason"] for tags in chaos.tags(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}") if tags.get("state") == "failed")
    assert failed[0] == "MemoryError: no memory for level 2" and failed[1].startswith("its worker process died 3 times, at last by SIGSEGV")
    monkeypatch.delenv("MOODY")
    done = run()
    assert done.returncode == 0, done.stderr
    after = {path.name: path.read_bytes() for path in trials.glob("*.json")}
    assert len(after) >= 4 and before.items() <= after.items()
    (states,) = _studies(tmp_path / "runs" / "smoke" / "study.journal").values()  # type: ignore[attr-defined]
    assert [state for state, _, _ in states] == ["COMPLETE"] * 6


def test_fresh_moves_the_old_folder_aside(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept / "runs", tmp_path / "runs")
    done = run_sweep(tmp_path, "train.epochs=2", "n_trials=1", "final_seeds=1", "fresh=true")
    assert done.returncode == 0, done.stderr
    old, new = (results.read_all(tmp_path / "runs" / name / "trials") for name in ("smoke.1", "smoke"))
    assert (len(old), len(new)) == (10, 4)
    assert {run.spec.train.epochs for run in new} == {2.0}


def _studies(journal: Path) -> object:
    return chaos._studies(journal)


def _published(runs: Path) -> int:
    """Return the number of runs in a store, each of which has its curves without a point twice."""
    found = chaos.published(f"sqlite:///{runs / 'mlflow.db'}")
    for _, status, curves in found:
        assert status == "FINISHED"
        assert all(len(points) == len({step for step, _ in points}) for points in curves.values())
    return len(found)


def test_interrupted_twice_it_ends_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lrbench.sweep", *SMALL, *SWEEP, "train.epochs=50"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _two_workers(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)  # both are 130 to a shell
    assert time.monotonic() - begun < 10


@pytest.mark.timeout(1500)
def test_chaos(tmp_path: Path) -> None:
    """Five sweeps, each killed four times, coordinators and workers, by several signals, and two in the middle of each kind of write."""
    disturbed = chaos.Chaos(tmp_path, seed=0)
    for _ in range(5):
        disturbed.disturb(kills=4)
    disturbed.tear(chaos.NEW_STORE)
    disturbed.tear(chaos.WRITES)
    outcome = disturbed.outcome
    assert outcome.losses == []
    assert (outcome.sweeps, outcome.results, outcome.kills.total()) == (7, 70, 20 + len(chaos.NEW_STORE) + len(chaos.WRITES))
