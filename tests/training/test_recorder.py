import math

import pytest
import torch

from lrbench.results.result import LossSpikes
from lrbench.training.recorder import Outcome, RunRecorder

CPU = torch.device("cpu")


def _after(steps: int, total_steps: int = 400, loss: float = 2.0) -> RunRecorder:
    recorder = RunRecorder(total_steps, classes=10)
    for step in range(steps):
        recorder.add_step(torch.tensor(loss + step), 0.1 * step)
    return recorder


def test_the_training_loss_is_a_mean_over_blocks() -> None:
    """400 steps in 100 points are blocks of 4."""
    recorder = _after(10)
    recorder.flush_losses()
    loss = recorder.curves()["train/loss"]
    assert (loss.steps, loss.values) == ([4, 8, 10], [3.5, 7.5, 10.5])
    assert len(recorder.state_dict()["losses"]) == 0


def test_a_loss_that_is_not_finite_ends_the_run() -> None:
    recorder = _after(3)
    recorder.add_step(torch.tensor(math.nan), 0.5)
    recorder.flush_losses()
    assert recorder.outcome == Outcome("diverged", "the loss is not finite after 4 steps")


@pytest.mark.parametrize("part", ["val", "test"])
def test_an_evaluation_that_is_not_finite_ends_the_run(part: str) -> None:
    recorder = _after(2)
    recorder.add(part, math.inf, 0.5)  # type: ignore[arg-type]  # one of the two
    assert recorder.outcome == Outcome("diverged", f"the {part} loss is not finite after 2 steps")
    assert recorder.latest(f"{part}/accuracy") is None


def test_evaluations_are_counted_from_one() -> None:
    recorder = _after(2)
    recorder.add("val", 1.0, 0.5)
    recorder.add("val", 0.5, 0.75)
    assert recorder.evaluations() == [(1, 0.5), (2, 0.75)]
    assert recorder.latest("val/accuracy") == 0.75
    assert recorder.latest_loss() == 0.5


def test_without_held_out_images_the_loss_is_the_training_loss() -> None:
    recorder = _after(4)
    recorder.flush_losses()
    assert recorder.latest_loss() == 3.5


def test_losses_far_above_chance_are_spikes() -> None:
    """Three times the loss of guessing one of ten classes is 6.9."""
    recorder = RunRecorder(400, classes=10)
    for losses in ([2.3, 6.8, 7.0, 452.0], [30.0, 1.0]):
        for loss in losses:
            recorder.add_step(torch.tensor(loss), 0.5)
        recorder.flush_losses()
    assert recorder.loss_spikes == LossSpikes(steps=3, first_step=2, largest=452.0)
    resumed = RunRecorder(400, classes=10)
    resumed.load_state_dict(recorder.state_dict(), CPU)
    assert resumed.loss_spikes == recorder.loss_spikes


def test_a_nan_is_a_spike_without_a_size() -> None:
    recorder = _after(3)
    recorder.add_step(torch.tensor(math.nan), 0.5)
    recorder.flush_losses()
    assert recorder.loss_spikes == LossSpikes(steps=1, first_step=3, largest=None)


def test_a_checkpoint_without_spikes_can_be_resumed() -> None:
    state = _after(3).state_dict()
    del state["loss_spikes"]
    recorder = RunRecorder(400, classes=10)
    recorder.load_state_dict(state, CPU)
    assert (recorder.steps, recorder.loss_spikes.steps) == (3, 0)


def test_points_are_new_once() -> None:
    recorder = _after(2)
    assert [step for step, _, _ in recorder.new_points()["lr"]] == [0, 1]
    assert recorder.new_points() == {}
    recorder.add("val", 1.0, 0.5)
    assert set(recorder.new_points()) == {"val/loss", "val/accuracy"}


def test_the_curve_of_the_rate_has_the_last_step_of_a_run_that_ends_early() -> None:
    """Of 10,000 steps, every fourth is kept."""
    recorder = _after(103, total_steps=10_000)
    assert recorder.curves()["lr"].steps[-1] == 100
    recorder.end("pruned", "")
    rate = recorder.curves()["lr"]
    assert recorder.curves()["lr"] == rate
    assert rate.steps[-2:] == [100, 102]
    assert rate.values[-1] == pytest.approx(10.2)


def test_it_resumes_from_its_state() -> None:
    first, second = _after(6), RunRecorder(400, classes=10)
    first.eval_seconds = 1.0
    second.load_state_dict({**first.state_dict(), "seconds": 30.0}, CPU)
    assert (second.steps, second.rate, second.eval_seconds, second.outcome) == (6, 0.5, 1.0, None)
    assert second.train_seconds() == pytest.approx(29.0, abs=5)
    for recorder in (first, second):
        recorder.flush_losses()
    assert first.curves()["train/loss"].values == second.curves()["train/loss"].values
