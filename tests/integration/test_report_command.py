"""`python -m lrbench.report`: its arguments, output and exit codes."""

import shutil
from pathlib import Path

import pytest

from lrbench.report import main
from lrbench.results.files import write_lines
from tests.builders import Run, eight, repeats_of, sweep_of
from tests.conftest import Command


@pytest.fixture(scope="module")
def results_file(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed results of a sweep of two schedulers."""
    file = tmp_path_factory.mktemp("sweep") / "results.jsonl"
    write_lines(file, sweep_of(run, {"cosine": eight(0.8), "constant": eight(0.6)}))
    return file


@pytest.mark.parametrize(
    ("seed_distance", "line"),
    [(100, "over 3 repeats of the sweep, with other seeds"), (1, "these sweeps share final seeds, such as 1001")],
)
def test_only_sweeps_with_other_seeds_are_repeats(
    run: Run, tmp_path: Path, command: Command, seed_distance: int, line: str
) -> None:
    accuracies = [{"cosine": [0.7, 0.8], "rex": [0.6, 0.7]}] * 3
    for name, results in repeats_of(run, *accuracies, seed_distance=seed_distance).items():
        (tmp_path / name).mkdir()
        write_lines(tmp_path / name / "results.jsonl", results)
    process = command("report", "sweep 0", "sweep 1", "sweep 2")
    assert line in process.stdout, process.stderr
    assert "differ only in their seeds" in process.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["sweep"], 0, "cosine has the highest mean"),
        (["sweep", "other"], 0, "side by side"),
        (["sweep", "sweep"], 0, "cosine has the highest mean"),
        (["sweep", "--baseline", "cosin"], 2, "--baseline=cosin: must be one of"),
        (["sweep", "--target", "60"], 2, "--target=60: must be between 0 and 1"),
        (["sweep", "--target", "0.6"], 2, "--target=0.6: must be given with a folder that has trials/"),
        (["sweep", "other", "--target", "0.6"], 2, "--target=0.6: must be given with one folder"),
        (["sweep", "other", "--baseline", "cosine"], 2, "--baseline=cosine: must be given with one folder"),
        (["sweep", "--allow", "mine"], 2, "--allow: must be given with --verify"),
        (["sweep", "--verify", "sweep", "cosine"], 2, "--verify: must be given without other folders; got sweep"),
        (["--verify", "sweep", "cosine:7"], 2, "the seed must be one of"),
        (["nowhere"], 2, "must be the folder of a sweep"),
        ([], 2, "FOLDER: must be given, such as runs/quick"),
    ],
    ids=str,
)
def test_arguments(
    arguments: list[str],
    code: int,
    line: str,
    results_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder in ("sweep", "other"):
        (tmp_path / folder).mkdir()
        shutil.copy(results_file, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["report", *arguments])
    exit_code: object = 0
    try:
        main()
    except SystemExit as end:
        exit_code = end.code
    out, err = capsys.readouterr()
    assert exit_code == code
    assert line in out + err
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["results.jsonl"]
