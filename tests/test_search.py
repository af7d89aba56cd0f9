from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from lrbench import config, schedules, search
from lrbench.spec import ConfigError
from tests.conftest import SMALL

TPE = {"name": "tpe", "_target_": "optuna.samplers.TPESampler", "args": {"n_startup_trials": 3}}
RANDOM = {"name": "random", "_target_": "optuna.samplers.RandomSampler", "args": {}}
Ask = Callable[..., list[dict[str, search.Value]]]


@pytest.fixture
def cfg_space() -> tuple[search.Space, dict[str, search.Value]]:
    cfg = config.load("config", [*SMALL, "scheduler=cosine_warm_restarts"])
    return search.space(cfg), {"optimizer.lr": 0.5, "scheduler.knobs.cycles": 2, "scheduler.args.T_mult": 2}


def _study(
    path: Path,
    space: search.Space,
    defaults: dict[str, search.Value],
    sampler: object = TPE,
    seed: int = 0,
    known: Mapping[int, dict[str, search.Value]] | None = None,
) -> search.Study:
    """Open the study `s` in a journal; `known` is what was drawn for the trials that have runs."""
    of_trials = {0: defaults, **(known or {})}
    storage = search.opened(path, {"s": space}, {"s": of_trials})
    return search.Study(storage, "s", space, of_trials, sampler, seed)  # type: ignore[arg-type]


def _ask(
    path: Path, space: search.Space, defaults: dict[str, search.Value], count: int, sampler: object = TPE, seed: int = 0
) -> list[object]:
    """Return the values of `count` trials, each told the peak rate as its accuracy."""
    study = _study(path, space, defaults, sampler, seed)
    asked = []
    for number in range(count):
        values = study.ask(number)
        study.tell(number, float(values["optimizer.lr"]))
        asked.append(values)
    return asked  # type: ignore[return-value]


def test_first_trial_is_the_config_as_it_stands(tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]]) -> None:
    assert _ask(tmp_path / "j", *cfg_space, count=1) == [cfg_space[1]]


@pytest.mark.parametrize("sampler", [TPE, RANDOM], ids=["tpe", "random"])
def test_trials_follow_the_seed_and_differ(
    tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]], sampler: object
) -> None:
    one, again, other = (_ask(tmp_path / f"j{n}", *cfg_space, count=8, sampler=sampler, seed=n // 2) for n in range(3))
    assert one == again
    assert one[0] == other[0]
    assert one[1:] != other[1:]
    assert len({str(values) for values in one}) == 8


def test_a_study_goes_on_where_it_was(tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]]) -> None:
    whole = _ask(tmp_path / "whole", *cfg_space, count=8)
    _ask(tmp_path / "parts", *cfg_space, count=5)
    assert _ask(tmp_path / "parts", *cfg_space, count=8) == whole


def test_a_trial_that_was_asked_but_not_told_is_asked_again(
    tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]]
) -> None:
    before = _study(tmp_path / "j", *cfg_space, TPE).ask(0)
    study = _study(tmp_path / "j", *cfg_space, TPE)
    assert study.ask(0) == before
    study.tell(0, None)
    assert study.ask(1)


def test_whole_numbers_stay_whole(tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]]) -> None:
    for values in _ask(tmp_path / "j", *cfg_space, count=6):
        assert isinstance(values["scheduler.knobs.cycles"], int)  # type: ignore[index]


RESTARTS = "scheduler=cosine_decaying_restarts"


def _defaults(cfg: DictConfig, space: search.Space) -> dict[str, search.Value]:
    return {key: OmegaConf.select(cfg, key) for key in space}


def test_what_has_a_condition_is_drawn_only_then(tmp_path: Path) -> None:
    cfg = config.load("config", [*SMALL, RESTARTS])
    space = search.space(cfg)
    asked: list[dict[str, search.Value]] = _ask(tmp_path / "j", space, _defaults(cfg, space), 20, RANDOM)  # type: ignore[assignment]
    cycles = "scheduler.args.cycles"
    assert {values[cycles] for values in asked} == {1, 2, 3, 4, 5}
    for values in asked:
        assert ("scheduler.args.decay" in values) == ("scheduler.args.stretch" in values) == (int(values[cycles]) > 1)
        schedules.table(config.parse(cfg, values))


def test_a_condition_on_what_is_not_searched_reads_the_config() -> None:
    override = "scheduler.search.args.max_momentum={low: 0.9, high: 0.99, when: cycle_momentum}"
    for cycled in (True, False):
        cfg = config.load("config", [*SMALL, "scheduler=one_cycle", f"scheduler.args.cycle_momentum={cycled}", override])
        parameter = search.space(cfg)["scheduler.args.max_momentum"]
        assert parameter.applies({}) == cycled
        assert search.describe(parameter) == "0.9 to 0.99 when cycle_momentum"


def test_a_composite_is_searched_with_its_members() -> None:
    cfg = config.load("config", [*SMALL, "scheduler=product", "scheduler@scheduler.args.factors.second=rex"])
    factors = "scheduler.args.factors"
    assert set(search.space(cfg)) == {"optimizer.lr", f"{factors}.first.knobs.final", f"{factors}.second.args.beta"}


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("suggestions", [0, 1, 2])
def test_a_trial_that_was_drawn_in_part_is_drawn_to_its_end(tmp_path: Path, suggestions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config.load("config", [*SMALL, RESTARTS])
    space = search.space(cfg)
    told: list[dict[str, search.Value]]
    for name in ("whole", "parts"):
        told = _ask(tmp_path / name, space, _defaults(cfg, space), 4)  # type: ignore[assignment]
    whole = _study(tmp_path / "whole", space, _defaults(cfg, space)).ask(4)
    suggest, left = search.Parameter.suggest, iter(range(suggestions))

    def killed(parameter: search.Parameter, trial: Any, key: str) -> search.Value:
        if next(left, None) is None:
            raise _KilledError
        return suggest(parameter, trial, key)

    with monkeypatch.context() as patched:
        patched.setattr(search.Parameter, "suggest", killed)
        with pytest.raises(_KilledError):
            _study(tmp_path / "parts", space, _defaults(cfg, space)).ask(4)
    again = _study(tmp_path / "parts", space, _defaults(cfg, space), known=dict(enumerate(told)))
    for number, values in enumerate(told):
        assert again.ask(number) == values
        again.tell(number, float(values["optimizer.lr"]))
    assert again.ask(4) == whole
    again.tell(4, 0.5)


def test_importances_find_what_matters(tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]]) -> None:
    """The accuracy of `_ask` is the peak rate."""
    _ask(tmp_path / "j", *cfg_space, count=30, sampler=RANDOM)
    found = _study(tmp_path / "j", *cfg_space, RANDOM).importances()
    assert next(iter(found)) == "optimizer.lr" and found["optimizer.lr"] > 0.5
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.parametrize("accuracies", [[0.1] * 12, list(range(9))])
def test_no_importances_of_too_little(
    tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]], accuracies: list[float]
) -> None:
    study = _study(tmp_path / "j", *cfg_space, RANDOM)
    for number, accuracy in enumerate(accuracies):
        study.ask(number)
        study.tell(number, accuracy)
    assert study.importances() == {}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "scheduler.search.args={pct_start: {low: 0.1, high: 0.4, when: 'tree > 1'}}",
            "scheduler.search.args.pct_start.when=tree > 1: unknown",
        ),
        ("scheduler.search.args={pct_start: {low: 0.1, high: 0.4, when: '1 +'}}", "not a formula"),
        ("optimizer.lr=50", "optimizer.lr=50: outside of what is searched, 0.05 to 2 (log); change optimizer.search.lr too"),
        ("optimizer.search.lr={low: 1.0, high: 0.1}", "optimizer.search.lr"),
        ("optimizer.search.lr={low: 1.0}", "optimizer.lr=0.5: outside of what is searched, 1 to 2 (log)"),
        ("optimizer.search.lr=3", "{low: …, high: …}"),
        ("optimizer.search.lr={low: 0.1, high: 1.0, step: 0.1}", "optimizer.search.lr.step"),
        ("optimizer.search.lr={low: -1.0, high: 1.0, log: true}", "optimizer.search.lr"),
    ],
)
def test_a_space_that_is_none(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        search.space(config.load("config", [*SMALL, override]))
    assert message in str(raised.value)


@pytest.mark.parametrize("kept", [0.3, 0.7, 1.0])
def test_a_torn_journal_goes_on(tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]], kept: float) -> None:
    """Cut in the middle of a line, or of what a trial wrote: what was told before is told again, to the same trials."""
    whole = _ask(tmp_path / "j", *cfg_space, count=6)
    text = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(text[: int(kept * len(text)) - 3])
    (tmp_path / "j.lock").touch()
    assert _ask(tmp_path / "j", *cfg_space, count=6) == whole


@pytest.mark.parametrize("damage", [b"{}}\n", b"\x00\xff\n", b"not JSON\n"])
def test_a_damaged_journal_is_set_aside(tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]], damage: bytes) -> None:
    whole = _ask(tmp_path / "j", *cfg_space, count=6)
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(b"".join([*lines[:4], damage, *lines[4:]]))
    assert _ask(tmp_path / "j", *cfg_space, count=6) == whole
    assert (tmp_path / "j.before").exists()


def test_opening_what_is_whole_changes_nothing(tmp_path: Path, cfg_space: tuple[search.Space, dict[str, search.Value]]) -> None:
    _ask(tmp_path / "j", *cfg_space, count=2)
    before = (tmp_path / "j").read_bytes()
    search.opened(tmp_path / "j", {"s": cfg_space[0]}, {})
    assert (tmp_path / "j").read_bytes() == before


Whole = tuple[search.Space, dict[str, search.Value]]


@pytest.mark.parametrize("sampler", [TPE, RANDOM], ids=["tpe", "random"])
def test_a_journal_that_is_gone_comes_back_from_what_is_known(tmp_path: Path, cfg_space: Whole, sampler: object) -> None:
    whole = _ask(tmp_path / "j", *cfg_space, count=8, sampler=sampler)
    (tmp_path / "j").unlink()
    study = _study(tmp_path / "j", *cfg_space, sampler, known=dict(enumerate(whole[:5])))  # type: ignore[arg-type]
    for number in range(8):
        assert study.ask(number) == whole[number]
        study.tell(number, float(whole[number]["optimizer.lr"]))  # type: ignore[index]


def test_what_runs_were_trained_with_stands_whatever_a_sampler_would_draw(tmp_path: Path, cfg_space: Whole) -> None:
    """As with another version of Optuna: a trial of which there are runs is never drawn anew."""
    other: dict[str, search.Value] = {"optimizer.lr": 0.25, "scheduler.knobs.cycles": 3, "scheduler.args.T_mult": 1}
    assert _study(tmp_path / "drawn", *cfg_space).ask(0) == cfg_space[1]
    study = _study(tmp_path / "j", *cfg_space, known={1: other})
    study.ask(0)
    assert study.ask(1) == other


def test_a_journal_of_other_trials_is_set_aside(tmp_path: Path, cfg_space: Whole) -> None:
    """Of another scheduler under this one's name, or with values that the runs were not trained with."""
    cfg = config.load("config", [*SMALL, RESTARTS])
    space = search.space(cfg)
    _ask(tmp_path / "j", space, _defaults(cfg, space), 3, RANDOM)
    assert _ask(tmp_path / "j", *cfg_space, count=3) == _ask(tmp_path / "whole", *cfg_space, count=3)
    assert (tmp_path / "j.before").exists()
    other: dict[str, search.Value] = {"optimizer.lr": 0.25, "scheduler.knobs.cycles": 3, "scheduler.args.T_mult": 1}
    study = _study(tmp_path / "j", *cfg_space, known={1: other})
    study.ask(0)
    assert study.ask(1) == other


def test_a_trial_that_failed_is_told_anew_once_it_has_a_result(tmp_path: Path, cfg_space: Whole) -> None:
    whole = _ask(tmp_path / "whole", *cfg_space, count=6)
    study = _study(tmp_path / "j", *cfg_space)
    for number in range(3):
        study.ask(number)
        study.tell(number, None if number == 1 else float(whole[number]["optimizer.lr"]))  # type: ignore[index]
    assert _ask(tmp_path / "j", *cfg_space, count=6) == whole
