import shlex

import pytest

from lrbench.config.compose import load_config, parse_spec
from lrbench.orchestration.overrides import as_overrides
from lrbench.orchestration.plan import Plan, for_final_runs, make_plan
from lrbench.spec import TrialSpec, Value


def _repeated(plan: Plan, scheduler: str, sampled: dict[str, Value]) -> tuple[TrialSpec, TrialSpec, list[str]]:
    """Return a final run of a plan, the run of its overrides, and the overrides."""
    cfg = for_final_runs(plan.configs[scheduler], plan.settings)
    overrides = as_overrides(cfg, sampled)
    return parse_spec(cfg, sampled, phase="final"), parse_spec(load_config("config", overrides)), overrides


def _without_labels(spec: TrialSpec) -> dict[str, object]:
    return spec.model_dump(exclude={"seed", "phase", "trial", "sampled"})


@pytest.mark.parametrize("sweep", ["quick", "cpu", "cifar10", "resnet20", "smoke", "budgets"])
def test_the_overrides_of_a_sweep_repeat_its_runs(sweep: str) -> None:
    plan = make_plan([f"sweep={sweep}", "schedulers=[cosine,chained,product]"])
    for scheduler in plan.configs:
        run, repeated, overrides = _repeated(plan, scheduler, {"optimizer.lr": 0.123})
        assert overrides[0] == f"scheduler={scheduler}"
        assert _without_labels(repeated) == _without_labels(run)


SMALL_CHANGES = [
    ("one_cycle", []),
    ("one_cycle", ["scheduler.args.three_phase=true", "scheduler.args.anneal_strategy=linear"]),
    ("one_cycle", ["scheduler.args.total_steps=null", "scheduler.args.epochs=1", "scheduler.args.steps_per_epoch=156"]),
    ("one_cycle", ["scheduler.args.max_lr='${rate:0.5}'"]),
    ("lambda", ["scheduler.args.lr_lambda='1 - progress * (1 - final)'", "scheduler.knobs.final=0.1"]),
    ("cosine", ["scheduler.interval=epoch", "train.epochs=3"]),
    ("rex", ["optimizer=muon", "optimizer.bias_lr_factor=0.5", "optimizer.args.nesterov=false"]),
    ("rex", ["optimizer=adamw", "optimizer.args.betas=[0.8,0.9]", "optimizer.weight_decay=0"]),
    ("rex", ["model=fast", "model.args.widths=[8,16,16]", "model.args.pool=before"]),
    ("rex", ["data=synthetic", "data.flip=random", "data.train_images=null", "final_train_images=null"]),
    ("rex", ["device=cpu", "train.threads=1", "train.precision=float32"]),
    ("rex", ["~optimizer.args.nesterov"]),
    ("chained", ["allow=[mine,yours.too]"]),
]


@pytest.mark.parametrize(("scheduler", "changes"), SMALL_CHANGES)
def test_the_overrides_carry_the_changes_of_a_command_line(scheduler: str, changes: list[str]) -> None:
    plan = make_plan([f"schedulers=[{scheduler}]", *changes])
    run, repeated, overrides = _repeated(plan, scheduler, {})
    assert _without_labels(repeated) == _without_labels(run)
    assert shlex.split(shlex.join(overrides)) == overrides


def test_the_sampled_values_win() -> None:
    sampled: dict[str, Value] = {"scheduler.args.pct_start": 0.25, "optimizer.lr": 1e-1}
    plan = make_plan(["schedulers=[one_cycle]", "scheduler.args.pct_start=0.4"])
    run, repeated, overrides = _repeated(plan, "one_cycle", sampled)
    assert repeated.scheduler.args["pct_start"] == run.scheduler.args["pct_start"] == 0.25
    assert [text for text in overrides if "pct_start" in text] == ["scheduler.args.pct_start=0.25"]


def test_only_differences_are_named() -> None:
    run, _, overrides = _repeated(make_plan(["sweep=quick"]), "cosine", {"optimizer.lr": 0.5})
    assert overrides == ["scheduler=cosine", "data.train_images=24000", "optimizer.lr=0.5"]
    assert run.data.train_images == 24000


def test_the_folder_of_the_data_is_named() -> None:
    _, _, overrides = _repeated(make_plan(["sweep=quick", "data.root=/a folder"]), "cosine", {})
    assert 'data.root="/a folder"' in overrides
