import errno
import tomllib

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf

import lrbench
from lrbench import cli, schedulers
from lrbench.__main__ import COMMANDS, main
from lrbench.executors.executor import RunError
from lrbench.spec import ConfigError
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (KeyboardInterrupt("interrupted; to resume: x"), 130, "interrupted; to resume: x\n"),
        (ConfigError("seed=x: must be a whole number"), 2, "error: seed=x: must be a whole number\n"),
        (RunError("the first worker died"), 1, "error: the first worker died\n"),
        (yaml.YAMLError("line 3"), 2, "error: a config file must be valid YAML; line 3\n"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "runs/aaa"),
            2,
            "error: runs/aaa: must be a path that the file system accepts (File name too long)\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "runs/a.json"),
            1,
            "error: no room left on the disk for runs/a.json. No result is damaged. "
            "Free some space and repeat the command.\n",
        ),
    ],
    ids=["interrupt", "interrupt with a message", "config", "run", "yaml", "long name", "disk"],
)
def test_an_error_becomes_a_message_and_a_code(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end, cli.exit_codes():
        raise error
    assert end.value.code == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    "error", [ValueError("ours"), PermissionError(errno.EACCES, "no"), BrokenPipeError(errno.EPIPE, "a worker")]
)
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)), cli.exit_codes():
        raise error


def test_an_override_that_does_not_parse_shows_how_to_quote() -> None:
    error = OverrideParseException("++scheduler.args.x=(1", "Error parsing override '++scheduler.args.x=(1'\nmore")
    first, second = cli.explain(error, "config", []).splitlines()
    assert first == "Error parsing override 'scheduler.args.x=(1'"
    assert second.endswith("such as 'scheduler.args.lr_lambda=\"0.95 ** epoch\"'")


def test_overrides_stay_as_the_user_wrote_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["++scheduler.args.T_max=${steps:0.5}", "seed=1", "++scheduler.search.knobs=__deleted__"]
    config = OmegaConf.create({"hydra": {"overrides": {"task": given}}})
    monkeypatch.setattr(HydraConfig, "get", lambda: config.hydra)
    assert cli._overrides() == ["scheduler.args.T_max=${steps:0.5}", "seed=1", "~scheduler.search.knobs"]


def test_the_package_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines if line.startswith("  ")] == [f"lrbench.{name}" for name in COMMANDS]
    assert lines[-1].endswith("--help")


def test_commands_and_version_are_those_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {f"lrbench-{name}": f"lrbench.{name}:main" for name in COMMANDS}
    assert project["version"] == lrbench.__version__


def test_the_schedulers_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted(path.stem for path in (ROOT / "conf" / "scheduler").glob("*.yaml"))
    monkeypatch.setattr("sys.argv", ["schedulers"])
    schedulers.main()
    *rows, _ = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == files
    assert {row.split()[2] for row in rows} == {"yes", "sometimes", "rarely"}
    assert any(row.startswith("cosine_sawtooth ") and row.split()[1:3] == ["restarts", "sometimes"] for row in rows)
    monkeypatch.setattr("sys.argv", ["schedulers", "onecyclelr", "three"])
    schedulers.main()
    assert [row.split()[0] for row in capsys.readouterr().out.splitlines()[:-1]] == ["one_cycle_three_phase"]


def test_no_scheduler_has_the_word(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["schedulers", "nonesuch"])
    with pytest.raises(SystemExit) as end:
        schedulers.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: nonesuch: no scheduler has these words")
