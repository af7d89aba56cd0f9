"""The torch code of a scheduler makes its curve."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from lrbench import factors
from lrbench.catalogue.page import PEAK, SETTING
from lrbench.config.compose import load_config, parse_spec
from lrbench.schedules.table import schedule_table
from lrbench.schedules.torch_code import standalone_code, torch_code
from tests.conftest import ROOT

NAMES = [path.stem for path in sorted((ROOT / "conf" / "scheduler").glob("*.yaml"))]
WITHOUT = ("product", "sequence", "schedule_free")  # torch has no equivalent


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT])
def test_the_code_makes_the_curve(name: str) -> None:
    """With a tolerance, because torch multiplies the factor of LambdaLR with the peak."""
    spec = parse_spec(load_config("config", [*SETTING, f"scheduler={name}"]))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK, momentum=0.9)
    names: dict[str, Any] = {"lr_scheduler": lr_scheduler, "factors": factors, "np": np, "math": math}
    names["optimizer"] = optimizer
    exec(torch_code(spec), names)
    scheduler, rates = names["scheduler"], []
    for step in range(spec.train.total_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if name == "plateau":
            scheduler.step(0.5**step)  # a loss that always falls
        else:
            scheduler.step()
    np.testing.assert_allclose(rates, schedule_table(spec).lr, rtol=0, atol=1e-12 * PEAK)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_scheduler_without_a_torch_equivalent_has_no_code(name: str) -> None:
    assert torch_code(parse_spec(load_config("config", [*SETTING, f"scheduler={name}"]))) == ""


class _Recording(Iterator[tuple[torch.Tensor, torch.Tensor]]):
    """Batches that record the learning rate before each step."""

    def __init__(self, names: dict[str, Any], batches: int) -> None:
        self.names, self.rates, self.left = names, list[float](), batches

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.left:
            raise StopIteration
        self.left -= 1
        self.rates.append(self.names["optimizer"].param_groups[0]["lr"])
        return torch.zeros(2, 3), torch.zeros(2, dtype=torch.long)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*WITHOUT, "plateau")])
def test_the_standalone_code_has_the_rates_of_the_table(name: str) -> None:
    """It runs as a reader would run it, with a model and batches, and without lrbench."""
    spec = parse_spec(
        load_config("config", [*SETTING, f"scheduler={name}", "train.epochs=2", "optimizer.bias_lr_factor=2"])
    )
    code = standalone_code(spec)
    names: dict[str, Any] = {"model": torch.nn.Linear(3, 2)}
    batches = _Recording(names, spec.train.total_steps)
    names["batches"] = batches
    exec(code, names)
    assert "lrbench" not in code and not any(line.startswith("    _fractions") for line in code.splitlines())
    np.testing.assert_allclose(batches.rates, schedule_table(spec).lr, rtol=0, atol=1e-12 * PEAK)


FORMULAS = [
    'scheduler.args.lr_lambda="0.5 * (1 + cos(pi * progress))"',
    'scheduler.args.lr_lambda="0.9 ** floor(epoch) * exp(-total_epochs / 100)"',
    'scheduler.args.lr_lambda="max(0.1, 1 - step / total_steps) ** sqrt(e) * abs(-1)"',
    'scheduler.args.lr_lambda="final ** (epoch / total_epochs) if scheduler_steps > 5 else 0.5"',
]


def _rates_by_epoch(*overrides: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rates of the standalone code, which loops over epochs, and those in the table."""
    spec = parse_spec(load_config("config", [*SETTING, "scheduler.interval=epoch", *overrides]))
    names: dict[str, Any] = {"model": torch.nn.Linear(3, 2)}
    rates = list[float]()

    class Batches:
        def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            batches = _Recording(names, spec.train.steps_per_epoch)
            yield from batches
            rates.extend(batches.rates)

    names["batches"] = Batches()
    exec(standalone_code(spec), names)
    return np.array(rates), schedule_table(spec).lr


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*WITHOUT, "plateau")])
def test_the_standalone_code_steps_the_scheduler_once_per_epoch(name: str) -> None:
    rates, table = _rates_by_epoch(f"scheduler={name}", "train.epochs=12")
    np.testing.assert_allclose(rates, table, rtol=0, atol=1e-12 * PEAK)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_every_name_and_function_of_a_formula_has_code(formula: str, interval: str) -> None:
    spec = parse_spec(
        load_config(
            "config", [*SETTING, "scheduler=lambda", f"scheduler.interval={interval}", "train.epochs=10", formula]
        )
    )
    names: dict[str, Any] = {"model": torch.nn.Linear(3, 2)}
    code = standalone_code(spec).partition("\nfor ")[0]
    exec(code, names)
    factor = names["scheduler"].lr_lambdas[0]
    per_call = 1 if interval == "step" else spec.train.steps_per_epoch
    table = schedule_table(spec).lr / PEAK
    steps = range(0, spec.train.total_steps, per_call)
    np.testing.assert_allclose([factor(place) for place in range(len(steps))], table[list(steps)], atol=1e-12)


def test_the_scale_function_of_a_cycle_keeps_its_parameter() -> None:
    setting = [*SETTING, "scheduler=cyclic", "scheduler.args.scale_fn=0.9 ** x", "scheduler.args.scale_mode=cycle"]
    code = standalone_code(parse_spec(load_config("config", setting)))
    assert "scale_fn=lambda x: 0.9 ** x" in code


def test_members_outside_of_torch_have_no_code_and_are_not_imported() -> None:
    """The spec in a result file may come from anyone."""
    spec = parse_spec(load_config("config", [*SETTING, "scheduler=chained"]))
    foreign = {"_target_": "lrbench_test_nowhere.MyLR", "args": {}}
    scheduler = spec.scheduler.model_copy(update={"args": {"schedulers": [foreign]}})
    assert standalone_code(spec.model_copy(update={"scheduler": scheduler})) == ""


def test_the_standalone_code_of_plateau_says_when_to_step() -> None:
    code = standalone_code(parse_spec(load_config("config", [*SETTING, "scheduler=plateau"])))
    assert "# After each validation: scheduler.step(validation_loss)" in code
    compile(code, "plateau", "exec")


def test_a_table_of_forms_keeps_only_the_form_that_is_used() -> None:
    code = standalone_code(parse_spec(load_config("config", [*SETTING, "scheduler=sine"])))
    assert "'sine'" in code and "'triangle'" not in code


@pytest.mark.parametrize("name", WITHOUT)
def test_no_standalone_code_without_a_torch_equivalent(name: str) -> None:
    assert standalone_code(parse_spec(load_config("config", [*SETTING, f"scheduler={name}"]))) == ""


@pytest.mark.parametrize(
    ("optimizer", "line"),
    [
        ("adamw", "optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay="),
        ("muon", "optimizer = ...  # muon with lr=0.1, weight_decay="),
    ],
)
def test_the_standalone_code_names_the_optimizer(optimizer: str, line: str) -> None:
    setting = [text for text in SETTING if not text.startswith("optimizer=")]
    code = standalone_code(parse_spec(load_config("config", [*setting, "scheduler=cosine", f"optimizer={optimizer}"])))
    assert line in code and "lrbench" not in code
    compile(code, optimizer, "exec")
