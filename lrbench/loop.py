"""Train one network: `train_one` is the only training loop."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lrbench import checkpoints, data, schedules
from lrbench.device import environment, machine
from lrbench.record import Record
from lrbench.results import Points, TrialResult
from lrbench.spec import TrialSpec
from lrbench.trainer import Trainer

PROGRESS_SECONDS = 0.2
LIVE_AFTER_SECONDS = 30.0  # of training, from when on a run's curves are told while they grow
LIVE_EVERY_SECONDS = 5.0

GoesOn = Callable[[int, float], bool]


@dataclass(frozen=True)
class Progress:
    """Where a run stands; and now and then, where it lasts, what is new of its curves."""

    epoch: float
    lr: float
    accuracy: float | None
    points: Points


def train_one(
    spec: TrialSpec,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    goes_on: GoesOn | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60,
) -> TrialResult:
    """Train the network that `spec` describes. The same spec gives the same result, bit by bit on one kind of CPU.

    `goes_on` is asked at each evaluation but the last, from 1, with its accuracy; where it says no, the run is pruned.
    A run keeps its state in the file `checkpoint`, anew every `checkpoint_seconds`, and goes on from one that is there.
    Raises ConfigError where the spec cannot be run here.
    """
    spec = spec.settled(machine(spec.device))
    assert isinstance(spec.train.threads, int)
    torch.set_num_threads(spec.train.threads)
    schedule = schedules.start(spec)
    run = Trainer(spec, data.load(spec.data, torch.device(spec.device)))
    record = Record(spec.train.total_steps)
    if checkpoint and (state := checkpoints.load(checkpoint)):
        _restore(state, run, record, schedule)
        if goes_on:
            for evaluation, accuracy in record.evaluations():
                goes_on(evaluation, accuracy)
    began, shown, saved = time.perf_counter() - record.seconds, 0.0, time.perf_counter()
    told = saved + LIVE_AFTER_SECONDS - LIVE_EVERY_SECONDS
    for step, (images, labels) in enumerate(run.batches(record.steps), record.steps):
        run.set_rate(schedule, step)
        record.losses.append(run.step(images, labels))
        record.add_rate(run.rate())
        if record.steps in run.eval_steps:
            _evaluate(run, record, goes_on)
            if record.state != "finished":
                break
            schedule.observe(record.latest_loss())
        now = time.perf_counter()
        if now - shown > PROGRESS_SECONDS or record.steps in run.eval_steps:
            points = record.new_points() if now - told > LIVE_EVERY_SECONDS else {}
            shown, told = now, now if points else told
            on_progress(Progress(record.steps / spec.train.steps_per_epoch, record.rate, record.latest("val/accuracy"), points))
        if checkpoint and now - saved > checkpoint_seconds:
            record.seconds = now - began
            with suppress(OSError):  # a full disk: the run may end before it matters
                checkpoints.save(checkpoint, _state(run, record, schedule))
            saved = time.perf_counter()
    train_seconds = time.perf_counter() - began - record.eval_seconds
    if spec.phase == "final" and record.state == "finished":
        _score(run, record, "test")
    if checkpoint:
        checkpoints.remove(checkpoint)
    return TrialResult(
        spec=spec,
        state=record.state,
        reason=record.reason,
        curves=record.curves(),
        train_seconds=train_seconds,
        eval_seconds=record.eval_seconds,
        environment=environment(run.device),
    )


def _evaluate(run: Trainer, record: Record, goes_on: GoesOn | None) -> None:
    """Record the losses since the last evaluation and how the network does now; end the run where it has diverged or is pruned."""
    train, last = run.spec.train, record.steps == run.spec.train.total_steps
    record.flush_losses()
    if record.state == "finished" and len(run.data.holdout):
        _score(run, record, "val")
    if record.state == "finished" and train.test_curve and run.spec.phase == "final" and not last:
        _score(run, record, "test")
    if record.state == "finished" and not run.weights_are_finite():
        record.end("diverged", f"a weight is not finite after {record.steps} steps")
    if record.state == "finished" and not last and goes_on and not goes_on(*record.evaluations()[-1]):
        record.end("pruned", f"the pruner stopped it after {record.steps} steps")


def _score(run: Trainer, record: Record, part: Literal["val", "test"]) -> None:
    """Record the loss and the accuracy on the validation or test images."""
    began = time.perf_counter()
    loss, accuracy = run.evaluate(run.data.holdout if part == "val" else run.data.test)
    record.eval_seconds += time.perf_counter() - began
    record.add(part, loss, accuracy)


def _state(run: Trainer, record: Record, schedule: schedules.Schedule | schedules.LiveSchedule) -> dict[str, Any]:
    return {
        "net": run.net.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in run.optimizers],
        "generator": run.epoch_state(record.steps),
        "record": record.state_dict(),
        "schedule": schedule.state(),
    }


def _restore(state: Mapping[str, Any], run: Trainer, record: Record, schedule: schedules.Schedule | schedules.LiveSchedule) -> None:
    run.net.load_state_dict(state["net"])
    for optimizer, known in zip(run.optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(known)
    run.generator_state = state["generator"]
    record.load_state_dict(state["record"], run.device)
    schedule.restore(state["schedule"])
