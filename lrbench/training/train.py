"""Train one network: `train_one` is the only training loop."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from lrbench.results.result import Points, ShouldContinue, TrialResult
from lrbench.schedules.table import RateSource, start_schedule
from lrbench.spec import TrialSpec
from lrbench.training.checkpoint import load_checkpoint, remove_checkpoint, save_checkpoint
from lrbench.training.device import resolve_device, run_environment
from lrbench.training.recorder import RunRecorder
from lrbench.training.resident import Resident
from lrbench.training.trainer import Trainer

PROGRESS_SECONDS = 0.2
LIVE_AFTER_SECONDS = 30.0  # a longer run reports its curves while they grow, so that MLflow shows them
LIVE_EVERY_SECONDS = 5.0


@dataclass(frozen=True)
class Progress:
    """A report of a run during its training.

    `points` are the new points of its curves. Most reports have no points.
    """

    epoch: float
    lr: float
    accuracy: float | None
    points: Points


def train_one(
    spec: TrialSpec,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_continue: ShouldContinue | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60,
    resident: Resident | None = None,
) -> TrialResult:
    """Train the network that `spec` describes.

    The same spec gives the same result, bit by bit on one kind of CPU.

    `should_continue` is called at each evaluation but the last one, with its number (from 1) and
    its accuracy. If it returns False, the run is pruned. The run saves its state in the file
    `checkpoint` every `checkpoint_seconds`, and resumes from it. `resident` is what the process
    keeps from run to run; without it, the run loads its data itself. Raises ConfigError if the spec
    cannot be trained on this machine.
    """
    spec = spec.resolved(resolve_device(spec.device))
    assert isinstance(spec.train.threads, int)
    torch.set_num_threads(spec.train.threads)
    schedule = start_schedule(spec)
    run = Trainer(spec, resident or Resident())
    recorder = RunRecorder(spec.train.total_steps)
    if checkpoint and (state := load_checkpoint(checkpoint)):
        _restore(state, run, recorder, schedule)
        if should_continue:
            for evaluation, accuracy in recorder.evaluations():
                should_continue(evaluation, accuracy)
    started, last_progress, last_saved = time.perf_counter() - recorder.seconds, 0.0, time.perf_counter()
    last_live = last_saved + LIVE_AFTER_SECONDS - LIVE_EVERY_SECONDS
    for step, (images, labels) in enumerate(run.batches(recorder.steps), recorder.steps):
        run.set_rate(schedule, step)
        recorder.losses.append(run.step(images, labels))
        recorder.add_rate(run.rate())
        if recorder.steps in run.eval_steps:
            _evaluate(run, recorder, should_continue)
            if recorder.state != "finished":
                break
            schedule.observe(recorder.latest_loss())
        now = time.perf_counter()
        if now - last_progress > PROGRESS_SECONDS or recorder.steps in run.eval_steps:
            points = recorder.new_points() if now - last_live > LIVE_EVERY_SECONDS else {}
            last_progress, last_live = now, now if points else last_live
            epoch = recorder.steps / spec.train.steps_per_epoch
            on_progress(Progress(epoch, recorder.rate, recorder.latest("val/accuracy"), points))
        if checkpoint and now - last_saved > checkpoint_seconds:
            recorder.seconds = now - started
            with suppress(OSError):  # the disk is full; the run may end before it needs the checkpoint
                save_checkpoint(checkpoint, _checkpoint_state(run, recorder, schedule))
            last_saved = time.perf_counter()
    train_seconds = time.perf_counter() - started - recorder.eval_seconds
    if spec.phase == "final" and recorder.state == "finished":
        _score(run, recorder, "test")
    if checkpoint:
        remove_checkpoint(checkpoint)
    return TrialResult(
        spec=spec,
        state=recorder.state,
        reason=recorder.reason,
        curves=recorder.curves(),
        train_seconds=train_seconds,
        eval_seconds=recorder.eval_seconds,
        environment=run_environment(run.device),
        classes=run.data.classes,
    )


def _evaluate(run: Trainer, recorder: RunRecorder, should_continue: ShouldContinue | None) -> None:
    """Record the training loss and the validation score.

    End the run if it diverged or is pruned.
    """
    is_last = recorder.steps == run.spec.train.total_steps
    has_test_curve = run.spec.train.test_curve and run.spec.phase == "final"
    recorder.flush_losses()
    if recorder.state == "finished" and len(run.data.holdout):
        _score(run, recorder, "val")
    if recorder.state == "finished" and has_test_curve and not is_last:
        _score(run, recorder, "test")
    if recorder.state == "finished" and not run.weights_are_finite():
        recorder.end("diverged", f"a weight is not finite after {recorder.steps} steps")
    if recorder.state == "finished" and should_continue and not is_last:
        evaluation, accuracy = recorder.evaluations()[-1]
        if not should_continue(evaluation, accuracy):
            recorder.end("pruned", f"the pruner stopped it after {recorder.steps} steps")


def _score(run: Trainer, recorder: RunRecorder, part: Literal["val", "test"]) -> None:
    """Record the loss and the accuracy on the validation or test images."""
    started = time.perf_counter()
    loss, accuracy = run.evaluate(run.data.holdout if part == "val" else run.data.test)
    recorder.eval_seconds += time.perf_counter() - started
    recorder.add(part, loss, accuracy)


def _checkpoint_state(run: Trainer, recorder: RunRecorder, schedule: RateSource) -> dict[str, Any]:
    return {
        "net": run.net.state_dict(),
        "optimizers": run.optimizers.state_dicts(),
        "generator": run.epoch_state(recorder.steps),
        "record": recorder.state_dict(),
        "schedule": schedule.state(),
    }


def _restore(state: Mapping[str, Any], run: Trainer, recorder: RunRecorder, schedule: RateSource) -> None:
    run.net.load_state_dict(state["net"])
    run.optimizers.load_state_dicts(state["optimizers"])
    run.generator_state = state["generator"]
    recorder.load_state_dict(state["record"], run.device)
    schedule.restore(state["schedule"])
