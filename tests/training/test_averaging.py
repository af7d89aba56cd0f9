import math

import pytest
import torch
from torch import nn

from lrbench.training.averaging import EMA_FRACTION, EVERY, LOOKAHEAD_DECAY, WeightAverage

STEPS = 20


def _train(kind: str) -> tuple[nn.Linear, WeightAverage, list[float]]:
    """Return the network, its average and the weight after each of 20 steps that add 1."""
    net = nn.Linear(1, 1, bias=False)
    net.weight.data.zero_()
    average, weights = WeightAverage(kind, net, STEPS), []  # type: ignore[arg-type]  # one of the two
    for step in range(1, STEPS + 1):
        net.weight.data += 1
        average.after_step(step)
        weights.append(net.weight.item())
    return net, average, weights


def _averaged(net: nn.Linear, average: WeightAverage) -> float:
    with average.in_network():
        return net.weight.item()


def test_an_exponential_moving_average_does_not_change_the_training() -> None:
    net, average, weights = _train("ema")
    decay, expected = math.exp(-EVERY / (EMA_FRACTION * STEPS)), 0.0
    for step in range(EVERY, STEPS + 1, EVERY):
        expected = decay * expected + (1 - decay) * step
    assert weights == list(range(1, STEPS + 1))
    assert _averaged(net, average) == pytest.approx(expected)
    assert net.weight.item() == STEPS


def test_lookahead_sets_the_weights_to_the_average() -> None:
    net, average, weights = _train("lookahead")
    slow = 0.0
    for step in range(EVERY, STEPS, EVERY):
        decay = LOOKAHEAD_DECAY * (step / STEPS) ** 3
        slow = decay * slow + (1 - decay) * (slow + EVERY)
        assert weights[step - 1] == pytest.approx(slow)
    assert weights[-1] == pytest.approx(slow + EVERY)  # the last update leaves the weights
    last = slow + (1 - LOOKAHEAD_DECAY) * EVERY
    assert _averaged(net, average) == pytest.approx(last)


def test_statistics_of_batch_norm_are_averaged() -> None:
    net = nn.BatchNorm1d(1)
    average = WeightAverage("ema", net, 1000)
    assert net.running_mean is not None
    net.running_mean.fill_(1.0)
    average.after_step(EVERY)
    with average.in_network():
        assert 0 < float(net.running_mean) < 1
    assert float(net.running_mean) == 1


def test_it_resumes_from_its_state() -> None:
    _, average, _ = _train("ema")
    net, other, _ = _train("lookahead")
    other.load_state_dict({"average": [value.clone() for value in average.state_dict()["average"]]})
    with other.in_network():
        torch.testing.assert_close(net.weight.data, average.state_dict()["average"][0])
