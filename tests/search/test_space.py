from pathlib import Path

import pytest

from lrbench.config.compose import load_config, parse_spec
from lrbench.schedules.table import schedule_table
from lrbench.search.space import describe_parameter, search_space
from lrbench.spec import ConfigError
from tests.conftest import SMALL
from tests.search.studies import RANDOM, ask_and_tell, search_of

RESTARTS = "cosine_decaying_restarts"


def test_a_parameter_with_a_condition_is_drawn_only_if_it_holds(tmp_path: Path) -> None:
    cfg = load_config("config", [*SMALL, f"scheduler={RESTARTS}"])
    asked = ask_and_tell(tmp_path / "j", search_of(RESTARTS), 20, RANDOM)
    cycles = "scheduler.args.cycles"
    assert {values[cycles] for values in asked} == {1, 2, 3, 4, 5}
    for values in asked:
        assert ("scheduler.args.decay" in values) == ("scheduler.args.stretch" in values) == (int(values[cycles]) > 1)
        schedule_table(parse_spec(cfg, values))


@pytest.mark.parametrize("cycle_momentum", [True, False])
def test_a_condition_reads_the_config_for_a_key_that_is_not_searched(cycle_momentum: bool) -> None:
    search = "scheduler.search.args.max_momentum={low: 0.9, high: 0.99, when: cycle_momentum}"
    overrides = ["scheduler=one_cycle", f"scheduler.args.cycle_momentum={cycle_momentum}", search]
    parameter = search_space(load_config("config", [*SMALL, *overrides]))["scheduler.args.max_momentum"]
    assert parameter.applies({}) == cycle_momentum
    assert describe_parameter(parameter) == "0.9 to 0.99 when cycle_momentum"


def test_the_space_of_a_composite_has_its_members() -> None:
    cfg = load_config("config", [*SMALL, "scheduler=product", "scheduler@scheduler.args.factors.second=rex"])
    factors = "scheduler.args.factors"
    assert set(search_space(cfg)) == {"optimizer.lr", f"{factors}.first.knobs.final", f"{factors}.second.args.beta"}


@pytest.mark.parametrize(
    ("override", "keys"),
    [
        ("optimizer.search.lr=null", {"scheduler.args.pct_start"}),
        ("~optimizer.search.lr", {"scheduler.args.pct_start"}),
        ("~optimizer.search", {"scheduler.args.pct_start"}),
        ("scheduler.search={}", {"optimizer.lr"}),
        ("scheduler.search.args={}", {"optimizer.lr"}),
        ("scheduler.search.args.pct_start=null", {"optimizer.lr"}),
        ("~scheduler.search.args.pct_start", {"optimizer.lr"}),
    ],
)
def test_a_part_of_the_space_that_is_null_or_empty_is_not_searched(override: str, keys: set[str]) -> None:
    assert search_space(load_config("config", [*SMALL, "scheduler=one_cycle", override])).keys() == keys


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["optimizer.search.lr={choices: [0.1, 0.5]}"], "0.1, 0.5"),
        (["optimizer.search.lr={choices: [0.5]}", "optimizer.search.lr={low: 0.1, high: 1.0}"], "0.1 to 1"),
        (["optimizer.search.lr={low: 0.1, high: 1.0}"], "0.1 to 1 (log)"),  # `log` is not among the changes
        (["optimizer.search.lr={low: 0.1}"], "0.1 to 2 (log)"),
        (["optimizer.search={lr: {choices: [0.5]}}"], "0.5"),
        (["optimizer.search.lr.low=0.5", "optimizer.search.lr.high=0.5"], "0.5 to 0.5 (log)"),
    ],
)
def test_changes_of_a_range(overrides: list[str], text: str) -> None:
    space = search_space(load_config("config", [*SMALL, *overrides]))
    assert describe_parameter(space["optimizer.lr"]) == text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "scheduler.search.args={pct_start: {low: 0.1, high: 0.4, when: 'tree > 1'}}",
            "scheduler.search.args.pct_start.when=tree > 1: unknown",
        ),
        ("scheduler.search.args={pct_start: {low: 0.1, high: 0.4, when: '1 +'}}", "must be a formula"),
        (
            "optimizer.lr=50",
            "optimizer.lr=50: must be in the search space, 0.05 to 2 (log). Change optimizer.search.lr too.",
        ),
        ("optimizer.search.lr={low: 1.0, high: 0.1}", "optimizer.search.lr"),
        ("optimizer.search.lr={low: 1.0}", "optimizer.lr=0.5: must be in the search space, 1 to 2 (log)"),
        ("optimizer.search.lr=3", "{low: …, high: …}"),
        ("optimizer.search.lr=[0.1, 1.0]", "optimizer.search.lr=[0.1, 1.0]: must be {low: …, high: …}"),
        ("scheduler.search.args.pct_strt={low: 0.1, high: 0.4}", "search.args.pct_strt; did you mean pct_start?"),
        ("scheduler.search.arg.pct_start={low: 0.1, high: 0.4}", "unknown key scheduler.search.arg; did you mean arg"),
        ("~scheduler.search.args.pct_strt", "unknown key scheduler.search.args.pct_strt; did you mean pct_start?"),
        ("~optimzer.search.lr", "unknown key optimzer.search.lr"),
        ("optimizer.search.lr={low: 0.0, high: 1.0, log: true}", "optimizer.search.lr="),
        ("scheduler.search.args={anneal_strategy: {choices: []}}", "scheduler.search.args.anneal_strategy="),
        ("optimizer.search.lr={low: 0.1, high: 1.0, step: 0.1}", "optimizer.search.lr.step"),
        ("optimizer.search.lr={low: -1.0, high: 1.0, log: true}", "optimizer.search.lr"),
        ("scheduler.search.args={anneal_strategy: {choices: [linear]}}", "scheduler.args.anneal_strategy=cos: must be"),
        ("scheduler.search.args={three_phase: {choices: [0, 1]}}", "scheduler.args.three_phase=False: must be"),
        ("scheduler.search.args={div_factor: {low: 1, high: 30}}", "scheduler.args.div_factor=25.0: must be"),
    ],
)
def test_invalid_spaces(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        search_space(load_config("config", [*SMALL, override]))
    assert message in str(raised.value)
