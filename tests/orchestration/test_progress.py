import io
import threading

import pytest
from rich.console import Console

from lrbench.orchestration.progress import ProgressBoard, status_log
from lrbench.results.result import Curve, LossSpikes, Progress, TrialResult
from tests.conftest import Spec

MOVE = Progress(0.5, 0.1, None)


def _console(*, terminal: bool = False) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=200, soft_wrap=True), text


def _result(spec: Spec, accuracy: float, *overrides: str) -> TrialResult:
    curve = Curve(steps=[1], values=[accuracy], times=[1])
    return TrialResult(
        spec=spec(*overrides),
        state="finished",
        reason="",
        curves={"val/accuracy": curve, "test/accuracy": curve},
        train_seconds=2.0,
        eval_seconds=0.5,
        environment={},
    )


def test_a_line_for_each_run(spec: Spec) -> None:
    console, text = _console()
    with ProgressBoard(console, 4, 4 * spec().train.total_steps) as board:
        board.reuse(_result(spec, 0.9, "seed=3"))
        board.skip([spec().train.total_steps])
        board.progress(spec("seed=1"), MOVE)
        board.finish(_result(spec, 0.5, "seed=1"))
        board.fail(spec("seed=2"), "no [memory]")
    first, second = text.getvalue().splitlines()
    assert first.startswith("[2/3] one_cycle final seed 1: test/accuracy 50.00 % in 2.5 s, ") and first.endswith(
        " left"
    )
    assert second == "[3/3] one_cycle final seed 2: failed: no [memory]"


@pytest.mark.parametrize(("largest", "loss"), [(452.1, "loss up to 452"), (None, "a NaN loss")])
def test_a_line_of_an_unstable_run(spec: Spec, largest: float | None, loss: str) -> None:
    spikes = LossSpikes(steps=12, first_step=3, largest=largest)
    console, text = _console()
    with ProgressBoard(console, 1, spec().train.total_steps) as board:
        board.finish(_result(spec, 0.5).model_copy(update={"loss_spikes": spikes}))
    outcome = f"test/accuracy 50.00 %, unstable ({loss} in 12 steps, the first is step 3)"
    assert text.getvalue() == f"[1/1] one_cycle final seed 0: {outcome} in 2.5 s\n"


def test_the_time_left_ends_with_the_last_run(spec: Spec) -> None:
    console, text = _console()
    with ProgressBoard(console, 1, spec().train.total_steps) as board:
        board.finish(_result(spec, 0.5))
    assert text.getvalue() == "[1/1] one_cycle final seed 0: test/accuracy 50.00 % in 2.5 s\n"


def test_the_table_of_a_terminal(spec: Spec) -> None:
    console, text = _console(terminal=True)
    board = ProgressBoard(console, 3, 3 * spec().train.total_steps)
    board.finish(_result(spec, 0.75, "seed=1"))
    board.fail(spec("seed=2"), "no memory")
    board.progress(spec(), Progress(0.5, 0.125, 0.25))
    console.print(board._render())
    assert "one_cycle final seed 0" in text.getvalue()
    assert "0.5/1" in text.getvalue() and "0.125" in text.getvalue() and "25.00 %" in text.getvalue()
    assert "1 of 3 done, 1 failed, " in text.getvalue()
    assert "best so far 75.00 % (one_cycle final seed 1)" in text.getvalue()


def test_a_run_may_start_while_another_is_counted(spec: Spec) -> None:
    """The time left is a sum over the running runs, to which another thread adds one."""
    console, text = _console()
    board = ProgressBoard(console, 9, 9 * spec().train.total_steps)
    starting = threading.Thread(target=board.progress, args=(spec("seed=3"), MOVE))

    class Interrupted(Progress):
        """A position whose reading lets the other thread run."""

        def __getattribute__(self, name: str) -> object:
            if name == "epoch":
                starting.start()
                starting.join(0.2)
            return super().__getattribute__(name)

    board.progress(spec("seed=2"), Interrupted(0.5, 0.1, None))
    board.finish(_result(spec, 0.5, "seed=1"))
    starting.join()
    assert text.getvalue().endswith(" left\n")


def test_lines_before_the_first_run() -> None:
    for terminal in (False, True):
        console, text = _console(terminal=terminal)
        with status_log(console) as log:
            log("fetching [the data]")
        assert "fetching [the data]" in text.getvalue()


def test_names_of_runs(spec: Spec) -> None:
    search = spec("phase=search", "seed=7").model_copy(update={"trial": 3})
    assert search.name() == "one_cycle search trial 3 seed 7"
    final = search.model_copy(update={"phase": "final"})
    assert final.name() == "one_cycle final trial 3 seed 7"
    second = {"search": 1, "seed": 2007}
    assert search.model_copy(update=second).name() == "one_cycle search 1 trial 3 seed 2007"
    assert final.model_copy(update=second).name() == "one_cycle search 1 final trial 3 seed 2007"
    assert final.model_copy(update={"trial": None}).name() == "one_cycle final seed 7"
