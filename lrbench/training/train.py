"""Train one network: `train_one` is the only training loop."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from lrbench.results.result import Progress, ShouldContinue, TrialResult
from lrbench.schedules.table import RateSource, start_schedule
from lrbench.spec import TrialSpec
from lrbench.training.checkpoint import Checkpointer
from lrbench.training.device import resolve_device, run_environment
from lrbench.training.progress import ProgressReporter
from lrbench.training.recorder import Outcome, RunRecorder
from lrbench.training.run_cache import RunCache
from lrbench.training.trainer import Trainer


def train_one(
    spec: TrialSpec,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_continue: ShouldContinue | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60,
    run_cache: RunCache | None = None,
) -> TrialResult:
    """Train the network that `spec` describes.

    The same spec gives the same result, bit by bit on one kind of CPU.

    `should_continue` is called at each evaluation but the last one, with its number (from 1) and
    its accuracy. If it returns False, the run is pruned. The run saves its state in the file
    `checkpoint` every `checkpoint_seconds`, and resumes from it. `run_cache` holds the data sets
    and the train step that the process keeps. Without it, the run loads its data itself. Raises
    ConfigError if the spec cannot be trained on this machine.
    """
    spec = spec.resolved(resolve_device(spec.device))
    assert isinstance(spec.train.threads, int)
    torch.set_num_threads(spec.train.threads)
    schedule = start_schedule(spec)
    run, checkpointer = Trainer(spec, run_cache or RunCache()), Checkpointer(checkpoint, checkpoint_seconds)
    recorder = RunRecorder(spec.train.total_steps, run.data.classes)
    if (state := checkpointer.load()) and _fits(state, run):
        _restore(state, run, recorder, schedule)
        _replay_evaluations(recorder, should_continue)
    reporter = ProgressReporter(on_progress, spec.train.steps_per_epoch)
    _train(run, schedule, recorder, reporter, checkpointer, should_continue)
    train_seconds = recorder.train_seconds()
    if spec.is_scored_on_test and recorder.outcome is None:
        _score(run, recorder, "test")
        _score_extra(run, recorder)
    checkpointer.remove()
    outcome = recorder.outcome or Outcome("finished")
    return TrialResult(
        spec=spec,
        state=outcome.state,
        reason=outcome.reason,
        curves=recorder.curves(),
        train_seconds=train_seconds,
        eval_seconds=recorder.eval_seconds,
        environment=run_environment(run.device) | ({"step": kind} if (kind := run.step_kind()) else {}),
        classes=run.data.classes,
        loss_spikes=recorder.loss_spikes,
    )


def _train(
    run: Trainer,
    schedule: RateSource,
    recorder: RunRecorder,
    reporter: ProgressReporter,
    checkpointer: Checkpointer,
    should_continue: ShouldContinue | None,
) -> None:
    """Make the steps that `recorder` does not have yet, until the run ends."""
    state = partial(_checkpoint_state, run, recorder, schedule)
    for loss, rate in run.steps(schedule, recorder.steps):
        recorder.add_step(loss, rate)
        if run.average:
            run.average.after_step(recorder.steps)
        is_evaluated = recorder.steps in run.eval_steps
        if is_evaluated:
            _evaluate(run, recorder, should_continue)
            if recorder.outcome:
                return
            schedule.observe(recorder.latest_loss())
        reporter.report(recorder, after_evaluation=is_evaluated)
        checkpointer.save_if_due(state)


def _evaluate(run: Trainer, recorder: RunRecorder, should_continue: ShouldContinue | None) -> None:
    """Record the training loss and the validation score.

    End the run if it diverged or is pruned.
    """
    is_last = recorder.steps == run.spec.train.total_steps
    has_test_curve = run.spec.train.test_curve and run.spec.is_scored_on_test
    recorder.flush_losses()
    if recorder.outcome is None and len(run.data.holdout):
        _score(run, recorder, "val")
    if recorder.outcome is None and has_test_curve and not is_last:
        _score(run, recorder, "test")
    if recorder.outcome is None and not run.weights_are_finite():
        recorder.end("diverged", f"a weight is not finite after {recorder.steps} steps")
    if recorder.outcome is None and should_continue and not is_last:
        evaluation, accuracy = recorder.evaluations()[-1]
        if not should_continue(evaluation, accuracy):
            recorder.end("pruned", f"the pruner stopped it after {recorder.steps} steps")


def _replay_evaluations(recorder: RunRecorder, should_continue: ShouldContinue | None) -> None:
    """Tell the pruner the evaluations before the checkpoint."""
    if should_continue:
        for evaluation, accuracy in recorder.evaluations():
            should_continue(evaluation, accuracy)


def _score(run: Trainer, recorder: RunRecorder, part: Literal["val", "test"]) -> None:
    """Record the loss and the accuracy on the validation or test images."""
    started = time.perf_counter()
    loss, accuracy = run.evaluate(run.data.holdout if part == "val" else run.data.test)
    recorder.eval_seconds += time.perf_counter() - started
    recorder.add(part, loss, accuracy)


def _score_extra(run: Trainer, recorder: RunRecorder) -> None:
    """Record the extra test accuracies."""
    started = time.perf_counter()
    for metric, accuracy in run.extra_test_accuracies():
        recorder.add_extra(metric, accuracy)
    recorder.eval_seconds += time.perf_counter() - started


def _checkpoint_state(run: Trainer, recorder: RunRecorder, schedule: RateSource) -> dict[str, Any]:
    return {
        "net": run.net.state_dict(),
        "optimizers": run.optimizers.state_dicts(),
        "has_device_step": run.device_step is not None,
        "average": run.average.state_dict() if run.average else None,
        "generator": run.epoch_state(recorder.steps),
        "record": recorder.state_dict(),
        "schedule": schedule.state(),
    }


def _fits(state: Mapping[str, Any], run: Trainer) -> bool:
    """Return True if the checkpoint and the run both have a device step, or neither has one."""
    return bool(state.get("has_device_step", False)) == (run.device_step is not None)


def _restore(state: Mapping[str, Any], run: Trainer, recorder: RunRecorder, schedule: RateSource) -> None:
    run.net.load_state_dict(state["net"])
    run.optimizers.load_state_dicts(state["optimizers"])
    run.generator_state = state["generator"]
    recorder.load_state_dict(state["record"], run.device)
    schedule.restore(state["schedule"])
    if run.average:
        run.average.load_state_dict(state["average"])
