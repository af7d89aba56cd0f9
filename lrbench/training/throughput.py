"""The speed of training on this machine, measured in a few steps."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from lrbench.data.dataset import blank_dataset
from lrbench.schedules.table import Schedule
from lrbench.spec import TrialSpec
from lrbench.training.run_cache import RunCache
from lrbench.training.trainer import EVAL_BATCH, Trainer

WARM_UP_STEPS, TIMED_STEPS = 3, 30


@dataclass(frozen=True)
class Throughput:
    """Seconds per optimizer step, and per evaluated image."""

    step: float
    image: float


def measure_throughput(spec: TrialSpec) -> Throughput:
    """Return the speed of runs such as the resolved `spec`, from some steps on blank images."""
    assert isinstance(spec.train.threads, int)
    torch.set_num_threads(spec.train.threads)
    blank = blank_dataset(spec.data, max(spec.train.batch_size, EVAL_BATCH), torch.device(spec.device))
    train = spec.train.model_copy(update={"total_steps": WARM_UP_STEPS + TIMED_STEPS})
    run = Trainer(spec.model_copy(update={"train": train}), RunCache(), blank)
    schedule = Schedule(np.full(train.total_steps, spec.optimizer.lr), None)
    for step, _ in enumerate(run.steps(schedule), 1):
        if step == WARM_UP_STEPS:
            run.evaluate(blank.test)  # waits for the device, because it returns numbers
            started = time.perf_counter()
    run.evaluate(blank.test)
    stepped = time.perf_counter()
    run.evaluate(blank.test)
    evaluated = time.perf_counter() - stepped
    return Throughput((stepped - started - evaluated) / TIMED_STEPS, evaluated / len(blank.test))
