"""The torch code of a scheduler makes its curve."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from lrbench import factors
from lrbench.catalogue.page import PEAK, SETTING
from lrbench.catalogue.torch_code import torch_code
from lrbench.config.compose import load_config, parse_spec
from lrbench.schedules.table import schedule_table
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
