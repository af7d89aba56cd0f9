import numpy as np

from lrbench.data.synthetic import gratings
from tests.conftest import Spec


def test_synthetic_follows_its_seed(spec: Spec) -> None:
    one, again, other = (gratings(spec(f"data.seed={seed}").data) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one["x_train"], again["x_train"])
    assert (one["x_train"] != other["x_train"]).any()
    assert set(one["y_test"]) <= set(range(10))
