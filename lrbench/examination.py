"""What can be known of runs before they are trained: that they can be, what of their schedules may surprise, and how long they take."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lrbench import checks, data, optimizers, schedules
from lrbench.device import machine
from lrbench.spec import Machine, TrialSpec
from lrbench.trainer import EVAL_BATCH, Trainer, network

WARM_UP_STEPS, TIMED_STEPS = 3, 30  # of a measurement of the pace


@dataclass(frozen=True)
class Pace:
    """Seconds of an optimizer step, and of the evaluation of an image."""

    step: float
    image: float


def pace(spec: TrialSpec) -> Pace:
    """Return how fast runs such as the settled `spec` are here, from some steps on blank images."""
    assert isinstance(spec.train.threads, int)
    torch.set_num_threads(spec.train.threads)
    blank = _blank(max(spec.train.batch_size, EVAL_BATCH))
    run = Trainer(spec.model_copy(update={"train": spec.train.model_copy(update={"total_steps": WARM_UP_STEPS + TIMED_STEPS})}), blank)
    for step, (images, labels) in enumerate(run.batches()):
        if step == WARM_UP_STEPS:
            run.evaluate(blank.test)  # its last line waits for the device
            started = time.perf_counter()
        run.step(images, labels)
    run.evaluate(blank.test)
    stepped = time.perf_counter()
    run.evaluate(blank.test)
    evaluated = time.perf_counter() - stepped
    return Pace((stepped - started - evaluated) / TIMED_STEPS, evaluated / len(blank.test))


def examine(specs: Sequence[TrialSpec], say: Callable[[str], None]) -> Machine:
    """Check that runs can be trained here as `check` does, and see to their data. Raises ConfigError."""
    found = check(specs, say)
    data.prepare(specs[0].data, say)
    return found


def check(specs: Sequence[TrialSpec], say: Callable[[str], None]) -> Machine:
    """Check that runs can be trained here, say what of their schedules may surprise, and return what this machine is.

    The specs differ in nothing but their schedulers. Raises ConfigError where a table, the network or the device cannot be had.
    """
    tables = [schedules.table(spec) for spec in specs]
    found = machine(specs[0].device)
    net = network(specs[0], _blank(64))
    for spec, table in zip(specs, tables, strict=True):
        optimizers.build(spec, net)
        for finding in checks.findings(spec, table):
            say(f"{spec.scheduler.name}: {finding}")
    return found


def _blank(images: int) -> data.Dataset:
    split = data.Split(torch.zeros(images, 32, 32, 3, dtype=torch.uint8), torch.zeros(images, dtype=torch.int64))
    return data.Dataset(split, split, split)
