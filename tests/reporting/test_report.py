"""The files of a report."""

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from lrbench.analysis.folder import rank_folder
from lrbench.reporting import report
from lrbench.reporting.terminal import print_ranking
from lrbench.spec import ConfigError
from tests.builders import Run, sweep_folder


def test_a_second_report_has_the_same_bytes(report_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(report_folder, copy)
    report.write_report(copy)
    files = [path.relative_to(report_folder) for path in report_folder.rglob("*") if path.is_file()]
    assert len(files) > 14
    for file in files:
        assert (copy / file).read_bytes() == (report_folder / file).read_bytes(), file


def test_committed_results_are_read_but_not_changed(
    report_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in ("results.jsonl", "config.yaml"):
        shutil.copy(report_folder / file, tmp_path)
    print_ranking(Console(soft_wrap=True), rank_folder(tmp_path))
    assert "cosine has the highest mean test accuracy, 80.00 %" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"results.jsonl", "config.yaml"}
    with pytest.raises(ConfigError, match="must be the folder of a sweep"):
        rank_folder(tmp_path / "nothing")


def test_without_final_runs_there_is_no_report(run: Run, tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path, [run("cosine", "search", 0, 0, validation=[0.5])])
    with pytest.raises(ConfigError, match=r"tiny: must have finished final runs"):
        report.write_report(folder)
