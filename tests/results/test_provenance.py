"""Provenance: starts, commits, hardware and dates."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from lrbench import __version__
from lrbench.results.provenance import DIRTY, commit, hardware, provenance_of, record_start, starts
from tests.builders import Run


def test_a_start_has_the_command_without_the_path_of_python(tmp_path: Path) -> None:
    record_start(tmp_path, "/usr/bin/python -m lrbench.sweep 'schedulers=[cosine,rex]'")
    (start,) = starts(tmp_path)
    assert start.command == "python -m lrbench.sweep 'schedulers=[cosine,rex]'"
    assert start.version == __version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", start.date)


def test_starts_skip_a_line_that_was_cut_short(tmp_path: Path) -> None:
    record_start(tmp_path, "/usr/bin/python -m lrbench.sweep n_trials=3")
    with (tmp_path / "starts.jsonl").open("a") as file:
        file.write('{"command": "python -m lrb')
    assert [start.command for start in starts(tmp_path)] == ["python -m lrbench.sweep n_trials=3"]
    record_start(tmp_path, "/usr/bin/python -m lrbench.sweep n_trials=9")
    assert [start.command for start in starts(tmp_path)] == [f"python -m lrbench.sweep n_trials={n}" for n in (3, 9)]


def test_a_folder_without_starts(tmp_path: Path) -> None:
    assert starts(tmp_path) == []


def test_provenance_of_a_folder(run: Run, tmp_path: Path) -> None:
    record_start(tmp_path, "python -m lrbench.sweep")
    record_start(tmp_path, "python -m lrbench.sweep")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"name": "tiny"}))
    provenance = provenance_of(tmp_path, [run(test=0.7), run(test=0.8)])
    assert len(provenance.starts) == 2
    assert provenance.commits == [provenance.starts[0].commit]
    assert provenance.settings == {"name": "tiny"}
    assert (provenance.first_date, provenance.last_date) == ("2027-01-15", "2027-01-15")  # 1.8e12 ms


def test_provenance_of_an_empty_folder(run: Run, tmp_path: Path) -> None:
    provenance = provenance_of(tmp_path, [run(test=0.7)])
    assert (provenance.starts, provenance.settings, provenance.commits) == ([], {}, [])


def test_hardware_names_each_machine_once(run: Run) -> None:
    result = run(test=0.7)
    on_gpu = result.model_copy(update={"spec": result.spec.model_copy(update={"device": "cuda:0"})})
    captured = on_gpu.model_copy(update={"environment": {**on_gpu.environment, "step": "one CUDA graph a step"}})
    assert hardware([result, on_gpu, captured, result]) == [
        "abacus (cpu, 1 thread per run), torch 2.15, Python 3.11, wood",
        "abacus (cuda:0), torch 2.15, Python 3.11, wood",
        "abacus (cuda:0, one CUDA graph a step), torch 2.15, Python 3.11, wood",
    ]


def test_the_commit_marks_uncommitted_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "name")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "name@example.org")
    (tmp_path / "__init__.py").write_text("")
    _git(tmp_path, "init", "--quiet")
    assert commit(tmp_path) == f"version {__version__}"  # __init__.py is not in the checkout yet
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "--quiet", "--message=first")
    clean = commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "__init__.py").write_text("changed")
    assert commit(tmp_path) == clean + DIRTY


def test_without_a_checkout_the_commit_is_the_version(tmp_path: Path) -> None:
    assert commit(tmp_path) == f"version {__version__}"


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, timeout=10)
