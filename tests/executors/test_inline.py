from collections.abc import Iterator
from pathlib import Path

import pytest

from lrbench.executors.executor import RunError, Workspace
from lrbench.executors.inline import Inline
from lrbench.spec import ConfigError
from lrbench.training.train import train_one
from tests.builders import without_times
from tests.conftest import Spec
from tests.executors.callbacks import no_monitor, no_progress


@pytest.fixture
def inline(tmp_path: Path) -> Iterator[Inline]:
    executor = Inline(Workspace(tmp_path / "logs", tmp_path / "checkpoints", tmp_path), checkpoint_seconds=60.0)
    yield executor
    executor.close()


def test_results_equal_those_of_train_one(inline: Inline, spec: Spec) -> None:
    device = inline.preflight([spec()], print)
    runs = [spec(f"seed={seed}").resolved(device) for seed in range(3)]
    futures = [inline.submit(run, no_progress, no_monitor) for run in runs]
    expected = [without_times(train_one(run)) for run in runs]
    assert [without_times(future.result()) for future in futures] == expected
    assert inline.concurrency(device, "auto") == 1


def test_an_invalid_spec_is_reported_before_training(inline: Inline, spec: Spec) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        inline.preflight([spec("scheduler.args.pct_start=2")], print)


def test_a_failed_run_gives_its_reason(inline: Inline, spec: Spec) -> None:
    device = inline.preflight([spec()], print)
    run = spec("scheduler=lambda", "scheduler.args.lr_lambda='1 / (step - 5)'").resolved(device)
    with pytest.raises(RunError, match="division by zero"):
        inline.submit(run, no_progress, no_monitor).result()
    assert inline.submit(spec().resolved(device), no_progress, no_monitor).result().state == "finished"


def test_progress_and_monitor_are_called(inline: Inline, spec: Spec) -> None:
    run = spec("train.epochs=2", "phase=search").resolved(inline.preflight([spec()], print))
    epochs: list[float] = []
    result = inline.submit(
        run, lambda _, progress: epochs.append(progress.epoch), lambda: lambda number, accuracy: number < 2
    ).result()
    assert result.state == "pruned"
    assert len(result.curves["val/accuracy"].steps) == 2
    assert epochs and max(epochs) <= 1
