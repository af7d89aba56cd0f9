"""What a sweep would do (`dry_run=true`): its runs, its search spaces, what its curves may surprise with, and about how long."""

import math

from rich.console import Console

from lrbench import config, data, examination, plan, results, search
from lrbench.display import duration, saying
from lrbench.examination import Pace
from lrbench.plan import Plan
from lrbench.spec import TrialSpec


def show(planned: Plan, console: Console) -> None:
    """Print it, and start nothing. Raises ConfigError for what would stop the sweep at its start."""
    plan.check_same(planned)
    specs = planned.specs()
    width = max(map(len, planned.spaces))
    for name, space in planned.spaces.items():
        searched = "; ".join(f"{key} {search.describe(parameter)}" for key, parameter in space.items())
        console.print(f"{name:{width}} {searched}")
    with saying(console) as say:
        machine = examination.check(specs, say)
        at_once = planned.runs_at_once(machine)
        search_run, final_run = (config.parse(cfg).settled(machine, at_once) for cfg in planned.search_and_final())
        pace = examination.pace(search_run)
    settings, schedulers = planned.settings, len(specs)
    search_runs = schedulers * settings.n_trials * settings.search_seeds
    final_runs = planned.runs - search_runs
    known = [run for run in results.read_all(planned.folder / "trials") if run.spec.scheduler.name in planned.configs]
    seconds = search_runs * _seconds(search_run, pace) + final_runs * _seconds(final_run, pace)
    seconds -= sum(_seconds(run.spec, pace) for run in known)
    lengths = (
        f"{search_runs} search runs of {search_run.train.total_steps} steps and {final_runs} final runs of {final_run.train.total_steps}"
    )
    console.print(f"would run: {lengths} on {machine.device} in {search_run.train.precision}, {at_once} at once, into {planned.folder}")
    if known:
        console.print(f"there already: {len(known)} of them")
    console.print(
        f"time: about {duration(max(0.0, seconds) / at_once)} and the start, at {1000 * pace.step:.1f} ms a step; nothing was started"
    )


def _seconds(spec: TrialSpec, pace: Pace) -> float:
    """Return how long a run takes at a pace."""
    train = spec.train
    evaluations = math.ceil(train.total_steps / (train.eval_epochs * train.steps_per_epoch))
    images = evaluations * spec.data.holdout_images + (data.test_images(spec.data) if spec.phase == "final" else 0)
    return train.total_steps * pace.step + images * pace.image
