from collections.abc import Callable

import pytest

from lrbench.config.validation import suggestion
from lrbench.spec import ConfigError, TrialSpec

Spec = Callable[..., TrialSpec]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+seeed=1", "unknown key seeed; did you mean seed?"),
        ("+scheduler.args.foo=1", "unknown key scheduler.args.foo"),
        ("+scheduler.args={pct_strat: 0.2}", "unknown key scheduler.args.pct_strat; did you mean pct_start or"),
        ("train.epochs=many", "train.epochs=many: must be a number, such as "),
        ("train.epochs=true", "train.epochs=True: must be a number, such as "),
        ("optimizer.lr=null", "optimizer.lr=null: must be a number, such as 0.5"),
        ("seed=1.5", "seed=1.5: must be a whole number, such as 0"),
        ("scheduler.args.pct_start=soon", "scheduler.args.pct_start=soon: must be a number, such as "),
        ("scheduler.args.three_phase=3", "scheduler.args.three_phase=3: must be true or false, such as False"),
        ("scheduler.args.anneal_strategy=true", "scheduler.args.anneal_strategy=True: must be a string, such as cos"),
        ("scheduler.args=3", "scheduler.args=3: must be a mapping, such as {"),
        ("optimizer.args=null", "optimizer.args=null: must be a mapping, such as {"),
        ("optimizer.lr=[1]", "optimizer.lr=[1]: must be a single value, such as 0.5"),
        ("allow=mine", "allow=mine: must be a list, such as []"),
    ],
)
def test_a_mistake_names_its_key_and_the_rule(spec: Spec, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        spec("scheduler=one_cycle", override)
    assert str(raised.value).startswith(message)


def test_items_of_a_list_have_the_type_of_the_files_items(spec: Spec) -> None:
    assert spec("scheduler=multi_step", "scheduler.args.milestones=[1,2,3,4]").scheduler.args["milestones"] == [
        1,
        2,
        3,
        4,
    ]
    with pytest.raises(ConfigError, match=r"model.args.widths\.3=wide: must be a whole number"):
        spec("model.args.widths=[8,16,32,wide]")


@pytest.mark.parametrize("override", ["scheduler.args.total_steps=null", "data.train_images=null"])
def test_null_where_it_has_a_meaning(spec: Spec, override: str) -> None:
    spec("scheduler=one_cycle", override)


def test_suggestion() -> None:
    assert suggestion("cosin", ["rex", "cosine"]) == "; did you mean cosine? Allowed: cosine, rex"
    assert suggestion("x", ["rexx"]) == ". Allowed: rexx"
    assert suggestion("x", []) == ". Allowed: nothing"
