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


def test_the_standalone_code_steps_the_scheduler_once_per_epoch() -> None:
    spec = parse_spec(load_config("config", [*SETTING, "scheduler=step", "scheduler.interval=epoch"]))
    names: dict[str, Any] = {"model": torch.nn.Linear(3, 2)}
    per_epoch, rates = spec.train.steps_per_epoch, list[float]()

    class Batches:
        def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            batches = _Recording(names, per_epoch)
            yield from batches
            rates.extend(batches.rates)

    names["batches"] = Batches()
    exec(standalone_code(spec), names)
    np.testing.assert_allclose(rates, schedule_table(spec).lr, rtol=0, atol=1e-12 * PEAK)


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
