import pytest

from lrbench.spec import TrialSpec
from tests.conftest import Spec


@pytest.fixture
def shapes(spec: Spec) -> Spec:
    """Returns a run of the given overrides on the data set of tests/data/shapes.py."""

    def run(*overrides: str, target: str = "tests.data.shapes.source", **args: object) -> TrialSpec:
        small = ("data.images=154", "data.holdout_images=14", "train.batch_size=70")
        base = spec(*small, *overrides)
        data = base.data.model_copy(update={"name": "shapes", "target": target, "args": args})
        return base.model_copy(update={"data": data})

    return run
