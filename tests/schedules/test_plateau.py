import pytest

from lrbench.schedules.plateau import LiveSchedule, is_live
from lrbench.schedules.table import Schedule, schedule_table, start_schedule
from tests.conftest import Spec

PLATEAU = (
    "scheduler=plateau",
    "scheduler.args.patience=0",
    "scheduler.args.factor=0.5",
    "scheduler.args.threshold=0.0",
    "optimizer.lr=0.5",
)


def test_only_a_plateau_scheduler_is_live(spec: Spec) -> None:
    assert is_live(spec("scheduler=plateau"))
    assert isinstance(start_schedule(spec("scheduler=plateau")), LiveSchedule)
    for name in ("cosine", "rex", "sequence", "schedule_free"):
        assert not is_live(spec(f"scheduler={name}"))
        assert isinstance(start_schedule(spec(f"scheduler={name}")), Schedule)


def test_the_rate_is_cut_when_the_loss_does_not_fall(spec: Spec) -> None:
    schedule, rates = LiveSchedule(spec(*PLATEAU)), []
    for loss in (2.0, 1.0, 1.5, 0.9, 0.9):
        schedule.observe(loss)
        rates.append(schedule.rate(0))
    assert rates == [0.5, 0.5, 0.25, 0.25, 0.125]
    assert schedule.momentum is None


def test_it_resumes_from_its_state(spec: Spec) -> None:
    first, second = LiveSchedule(spec(*PLATEAU)), LiveSchedule(spec(*PLATEAU))
    for loss in (2.0, 2.0, 1.0):
        first.observe(loss)
    second.restore(first.state())
    for schedule in (first, second):
        assert schedule.rate(0) == 0.25
        schedule.observe(1.0)
        assert schedule.rate(0) == 0.125


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_its_table_is_the_initial_rate(spec: Spec, interval: str) -> None:
    table = schedule_table(spec(*PLATEAU, f"scheduler.interval={interval}", "train.epochs=2.5"))
    assert table.lr.tolist() == [0.5] * 50
    assert table.momentum is None
