"""ReduceLROnPlateau: a schedule that follows the loss, so it runs during training."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from lrbench.config.targets import locate
from lrbench.schedules.torch_scheduler import build_scheduler, dummy_optimizer
from lrbench.spec import TrialSpec


class LiveSchedule:
    """A scheduler on a dummy optimizer that sees the loss of each evaluation.

    Its learning rates depend on the losses, so they are not known before training.
    """

    momentum = None

    def __init__(self, spec: TrialSpec) -> None:
        self._optimizer = dummy_optimizer(spec)
        self._scheduler = build_scheduler(spec, self._optimizer)

    def rate(self, step: int) -> float:
        """Return the learning rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def observe(self, loss: float) -> None:
        """Report the loss of an evaluation to the scheduler."""
        self._scheduler.step(loss)  # type: ignore[arg-type]  # ReduceLROnPlateau takes a metric, not an epoch

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint: the learning rate and the scheduler's state."""
        return {"lr": self.rate(0), "scheduler": self._scheduler.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Resume from a checkpoint."""
        self._optimizer.param_groups[0]["lr"] = state["lr"]
        self._scheduler.load_state_dict(state["scheduler"])


def is_live(spec: TrialSpec) -> bool:
    """Return True if the scheduler follows the loss."""
    target = locate(spec.scheduler.target)
    return inspect.isclass(target) and issubclass(target, ReduceLROnPlateau)
