"""An average of the weights over the steps of a run."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

EVERY = 5  # steps between two updates of the average
LOOKAHEAD_DECAY = 0.95**EVERY  # at the end of the run, as in airbench94
EMA_FRACTION = 0.05  # of the run: the time constant of the exponential moving average


class WeightAverage:
    """An average of the weights and of BatchNorm's statistics.

    `ema` is an exponential moving average, which does not change the training. `lookahead` (Zhang
    et al. 2019, https://arxiv.org/abs/1907.08610) also sets the weights to the average after each
    update. Its decay grows from 0 with the cube of the progress, as in airbench94
    (https://arxiv.org/abs/2404.00498).
    """

    def __init__(self, kind: Literal["ema", "lookahead"], net: nn.Module, total_steps: int) -> None:
        self._kind, self._total_steps = kind, total_steps
        self._values = [value for value in net.state_dict().values() if value.is_floating_point()]
        self._average = [value.clone() for value in self._values]

    @torch.no_grad()
    def after_step(self, steps: int) -> None:
        """Update the average if it is due after `steps` steps.

        The last update of `lookahead` leaves the weights as they are, so that both can be scored.
        """
        if steps % EVERY:
            return
        share = 1 - self._decay(steps)
        for average, value in zip(self._average, self._values, strict=True):
            average.lerp_(value, share)
        if self._kind == "lookahead" and steps < self._total_steps:
            _copy(self._average, self._values)

    def _decay(self, steps: int) -> float:
        if self._kind == "lookahead":
            return LOOKAHEAD_DECAY * (steps / self._total_steps) ** 3
        return math.exp(-EVERY / (EMA_FRACTION * self._total_steps))

    @contextmanager
    def in_network(self) -> Iterator[None]:
        """Put the average into the network, and its own weights back at the end."""
        own = [value.clone() for value in self._values]
        _copy(self._average, self._values)
        try:
            yield
        finally:
            _copy(own, self._values)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"average": self._average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a checkpoint."""
        _copy(state["average"], self._average)


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for new, old in zip(source, target, strict=True):
        old.copy_(new)
