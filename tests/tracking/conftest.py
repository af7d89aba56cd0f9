from collections.abc import Callable

import pytest

from lrbench.results.result import Curve, TrialResult
from lrbench.spec import TrialSpec


@pytest.fixture
def result(spec: Callable[..., TrialSpec]) -> TrialResult:
    """The result of a run of three steps."""
    curves = {
        "lr": Curve(steps=[0, 1, 2], values=[0.5, 0.25, 0.0], times=[10, 20, 30]),
        "val/accuracy": Curve(steps=[3], values=[0.75], times=[31]),
    }
    return TrialResult(
        spec=spec("scheduler=cosine", "seed=3", "optimizer.lr=0.5"),
        state="finished",
        reason="",
        curves=curves,
        train_seconds=1.0,
        eval_seconds=0.1,
        environment={},
    )
