"""The description of a sweep (`dry_run=true`): search spaces, warnings, runs, estimated time."""

import math

from rich.console import Console

from lrbench.config.compose import parse_spec
from lrbench.data.dataset import image_source
from lrbench.orchestration.folder import check_n_trials, check_same_config
from lrbench.orchestration.plan import Plan, describe_runs
from lrbench.orchestration.progress import status_log
from lrbench.results.files import read_results
from lrbench.results.result import TrialResult
from lrbench.search.space import describe_parameter
from lrbench.spec import TrialSpec
from lrbench.text import duration
from lrbench.training.preflight import check_specs
from lrbench.training.throughput import Throughput, measure_throughput


def dry_run(plan: Plan, console: Console) -> None:
    """Print the description, and start nothing. Raises ConfigError if the sweep could not start."""
    finished = [] if plan.shared.fresh else _finished(plan)
    _print_spaces(plan, console)
    with status_log(console) as log:
        device = check_specs(plan.specs(), log)
        concurrency = plan.concurrency(device)
        search_cfg, final_cfg = plan.search_and_final()
        search_spec = parse_spec(search_cfg).resolved(device, concurrency)
        throughput = measure_throughput(search_spec)
    seconds = plan.search_runs * _seconds(search_spec, throughput)
    seconds += plan.final_runs * _seconds(parse_spec(final_cfg), throughput)
    seconds -= sum(_seconds(run.spec, throughput) for run in finished)
    console.print(f"planned: {describe_runs(plan, device, concurrency)}")
    if finished:
        console.print(f"finished before: {len(finished)} of these runs")
    step_time = f"{1000 * throughput.step:.1f} ms per step"
    time_left = duration(max(0.0, seconds) / concurrency)
    console.print(f"estimated time: {time_left} at {step_time}, and a few seconds to start; nothing was started")
    if plan.settings.minutes is not None:
        limit = f"minutes={plan.settings.minutes:g}"
        console.print(f"{limit} leaves out the trials and final seeds that do not fit, the same for each scheduler")


def _finished(plan: Plan) -> list[TrialResult]:
    """Return the runs of the sweep that are in its folder. Raises ConfigError if it has others."""
    check_same_config(plan)
    results = read_results(plan.trials)
    check_n_trials(plan, results)
    return [run for run in results if run.spec.scheduler.name in plan.configs]


def _print_spaces(plan: Plan, console: Console) -> None:
    width = max(map(len, plan.spaces))
    for name, space in plan.spaces.items():
        ranges = "; ".join(f"{key} {describe_parameter(parameter)}" for key, parameter in space.items())
        console.print(f"{name:{width}} {ranges}")


def _seconds(spec: TrialSpec, throughput: Throughput) -> float:
    """Return the estimated time of a run."""
    train = spec.train
    evaluations = math.ceil(train.total_steps / (train.eval_epochs * train.steps_per_epoch))
    images = evaluations * spec.data.holdout_images
    if spec.is_scored_on_test:
        images += image_source(spec.data).test_images
    return train.total_steps * throughput.step + images * throughput.image
