"""A run that is cut off resumes from its checkpoint, and has the same result bit by bit."""

from pathlib import Path

import pytest
import torch

from lrbench.results.result import Progress
from lrbench.spec import TrialSpec
from lrbench.training import progress
from lrbench.training.checkpoint import load_checkpoint, save_checkpoint
from lrbench.training.train import train_one
from tests.builders import without_times
from tests.conftest import Spec


class _KilledError(Exception):
    pass


def cut_off(run: TrialSpec, path: Path, after_epochs: float) -> None:
    """Train with a checkpoint at every step, and stop in the middle."""

    def stop(progress: Progress) -> None:
        if progress.epoch >= after_epochs:
            raise _KilledError

    with pytest.raises(_KilledError):
        train_one(run, stop, checkpoint=path, checkpoint_seconds=0)


def check_resume(run: TrialSpec, folder: Path, after_epochs: float) -> None:
    """Cut a run off, and check that it resumes there and ends like a run without a break.

    The progress must be reported at every step.
    """
    path, epochs = folder / "run.pt", []
    cut_off(run, path, after_epochs)
    resumed = train_one(run, lambda progress: epochs.append(progress.epoch), checkpoint=path, checkpoint_seconds=0)
    assert epochs[0] == pytest.approx(after_epochs)  # not from the beginning
    assert without_times(resumed) == without_times(train_one(run))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "after_epochs"),
    [
        (["scheduler=one_cycle"], 0.5),
        (["scheduler=one_cycle"], 2.0),  # between two epochs, and at an evaluation
        (["optimizer=adamw", "scheduler=cyclic", "scheduler.args.cycle_momentum=true"], 1.4),
        (["optimizer=muon"], 1.4),
        (["train.average=lookahead"], 1.4),
        (["train.average=ema"], 1.4),
        (["scheduler=schedule_free"], 1.65),  # directly after an evaluation, with the average of the weights
        (["scheduler=plateau", "scheduler.args.patience=0", "scheduler.args.threshold=0.1"], 1.4),
        (["data.flip=random", "data.crop_padding=3"], 1.4),
        pytest.param(["model=resnet20", "model.args.width=4"], 1.4, marks=pytest.mark.slow),
        (["phase=search", "train.precision=bfloat16"], 1.4),
    ],
    ids=str,
)
def test_it_ends_the_same(
    spec: Spec, tmp_path: Path, overrides: list[str], after_epochs: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.0)
    check_resume(spec("train.epochs=3", "train.eval_epochs=0.4", *overrides), tmp_path, after_epochs)


def test_a_damaged_checkpoint_falls_back_to_the_previous_one(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.0)
    run, path = spec("train.epochs=2"), tmp_path / "run.pt"
    whole = without_times(train_one(run))
    for damage, first in (([path], 0.95), ([path, tmp_path / "run.pt.before"], 0.05)):
        cut_off(run, path, 1.0)
        for file in damage:
            file.write_bytes(file.read_bytes()[:5000])
        seen: list[Progress] = []
        assert without_times(train_one(run, seen.append, checkpoint=path, checkpoint_seconds=0)) == whole
        assert seen[0].epoch == pytest.approx(first)


def test_a_write_that_fails_leaves_the_previous_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "run.pt", {"step": 1})

    def full(state: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space"):
            save_checkpoint(tmp_path / "run.pt", {"step": 2})
    assert load_checkpoint(tmp_path / "run.pt") == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["run.pt"]


def test_a_full_disk_does_not_end_the_run(spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(state: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.0)
    run = spec("train.epochs=0.5")
    result = train_one(run, checkpoint=tmp_path / "run.pt", checkpoint_seconds=0)
    assert without_times(result) == without_times(train_one(run))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    torch.save({"step": Path("anything but tensors and plain data")}, tmp_path / "run.pt")
    assert load_checkpoint(tmp_path / "run.pt") is None
