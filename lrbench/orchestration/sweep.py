"""A sweep from its plan to its report."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lrbench.command_line import command_line
from lrbench.executors.executor import Executor, RunError
from lrbench.orchestration.folder import check_n_trials, locked_folder, write_config
from lrbench.orchestration.overrides import as_overrides
from lrbench.orchestration.pipeline import SearchPipeline, make_pipelines
from lrbench.orchestration.plan import Plan, describe_runs, for_final_runs
from lrbench.orchestration.progress import ProgressBoard, status_log
from lrbench.orchestration.run_events import RunEvents
from lrbench.orchestration.runner import train_all
from lrbench.orchestration.time_budget import TimeBudget
from lrbench.results import provenance
from lrbench.results.files import read_results
from lrbench.results.result import TrialResult
from lrbench.search.importance import MIN_TRIALS, importances
from lrbench.spec import ConfigError, DeviceInfo, Value
from lrbench.text import counted
from lrbench.tracking.browser import published_line
from lrbench.tracking.publisher import Publisher, open_publisher

if TYPE_CHECKING:
    from lrbench.analysis.ranking import Ranking  # imports scipy


def run_sweep(plan: Plan, overrides: Sequence[str], console: Console) -> bool:
    """Run a sweep. The finished runs in its folder are not trained again.

    Returns False if a run failed or if there is nothing to report. Raises ConfigError, and RunError
    or KeyboardInterrupt with the command that resumes the sweep.
    """
    resume, started = command_line("lrbench.sweep", overrides), time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(_with_resume_command(resume))
        stack.enter_context(locked_folder(plan))
        results = read_results(plan.trials)
        check_n_trials(plan, results)
        executor = stack.enter_context(closing(plan.executor()))
        device, concurrency = _preflight(plan, executor, console, resume)
        budget = _time_budget(plan, started, concurrency, results)
        allowance = budget.allowance if budget else None
        studies = plan.studies(results, console.print)
        pipelines = make_pipelines(plan, device, concurrency, studies, allowance)
        out, tracking = Path(plan.shared.out), plan.shared.tracking
        publisher = stack.enter_context(open_publisher(out, tracking, plan.settings.name))
        with ProgressBoard(console, plan.runs, plan.steps) as board:
            finished = {result.spec.key(): result for result in results}
            failures = train_all(pipelines, executor, finished, plan.trials, RunEvents(board, publisher), budget)
        ranking = _report(plan, publisher, console)
        _print_importances(plan, pipelines, console)
        publisher.close(log=console.print)
        if left_out := budget and budget.left_out():
            console.print(f"minutes={plan.settings.minutes:g} allowed {left_out}. Start again to add the others.")
        _print_last_lines(plan, ranking, publisher, console, overrides)
    if failures:
        console.print(f"{counted(failures, 'run')} failed without a result. To try again: {resume}", style="red")
    return not failures and ranking is not None


@contextmanager
def _with_resume_command(resume: str) -> Iterator[None]:
    """Add the command that resumes the sweep to the message of an interrupt or a failed start."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; the finished runs are safe. To resume: {resume}") from None
    except RunError as error:
        raise RunError(f"{error}\nTo try again: {resume}") from error


def _preflight(plan: Plan, executor: Executor, console: Console, command: str) -> tuple[DeviceInfo, int]:
    """Do the preflight and record the start. Return the device, and how many runs train at once."""
    with status_log(console) as log:
        device = executor.preflight(plan.specs(), log)
    concurrency = executor.concurrency(device, plan.shared.device)
    write_config(plan)
    provenance.record_start(plan.folder, command)
    schedulers = counted(len(plan.configs), "scheduler")
    console.print(f"sweep {plan.settings.name} of {schedulers}: {describe_runs(plan, device, concurrency)}")
    return device, concurrency


def _time_budget(plan: Plan, started: float, concurrency: int, results: Sequence[TrialResult]) -> TimeBudget | None:
    """Return the budget of a sweep with the key `minutes`."""
    if plan.settings.minutes is None:
        return None
    finished = [result for result in results if result.spec.scheduler.name in plan.configs]
    final_place = plan.settings.final_place
    return TimeBudget(plan.run_counts(), plan.settings.minutes, concurrency, finished, final_place, started=started)


def _report(plan: Plan, publisher: Publisher, console: Console) -> "Ranking | None":
    """Write, publish and print the report, and return the ranking.

    Returns None if no final run has a result.
    """
    from lrbench.reporting.report import write_report  # imports scipy and pandas, which takes as long as all the rest
    from lrbench.reporting.terminal import print_ranking
    from lrbench.tracking.sync import publish_summary

    try:
        ranking = write_report(plan.folder)
    except ConfigError as error:  # if it left the sweep, a new folder without results would be removed
        console.print(f"no report: {error}", style="red")
        return None
    publish_summary(publisher, plan.folder, ranking)
    print_ranking(console, ranking)
    return ranking


def _print_last_lines(
    plan: Plan, ranking: "Ranking | None", publisher: Publisher, console: Console, overrides: Sequence[str]
) -> None:
    """Print the places of the results, the commands that may follow, and the recommendation."""
    if publisher.failure:
        sync = command_line("lrbench.sync", [str(plan.folder)])
        console.print(
            f"MLflow lacks some runs ({publisher.failure}); the results are safe. To publish them later: {sync}"
        )
    if ranking is None:
        return
    from lrbench.reporting.terminal import print_advice

    best = ranking.rows[0].recommended.finals[0]
    best_cfg = for_final_runs(plan.configs[best.spec.scheduler.name], plan.settings)
    others = [text for text in overrides if not text.startswith(("n_trials=", "searches="))]
    searches = f"searches={2 * plan.settings.searches if plan.settings.searches > 1 else 4}"
    lines = {
        "report": f"{plan.folder / 'report.md'}, {plan.folder / 'report.html'}",
        "runs in the browser": published_line(Path(plan.shared.out), plan.shared.tracking, publisher, plan.folder),
        "search further": command_line("lrbench.sweep", [*others, f"n_trials={4 * plan.settings.n_trials}"]),
        "more searches": command_line("lrbench.sweep", [*others, searches]),
        "train the best": command_line("lrbench.train", as_overrides(best_cfg, best.spec.sampled)),
    }
    for label, text in lines.items():
        console.print(f"{label + ':':20} {text}")
    print_advice(console, ranking)


def _print_importances(plan: Plan, pipelines: Sequence[SearchPipeline], console: Console) -> None:
    """Print the importance of the hyperparameters, over the trials of all searches."""
    trials: dict[str, list[tuple[Mapping[str, Value], float]]] = {}
    for pipeline in pipelines:
        trials.setdefault(pipeline.name, []).extend(pipeline.study.scored_trials())
    by_scheduler = {name: importances(plan.spaces[name], scored) for name, scored in trials.items()}
    if not any(by_scheduler.values()):
        needs = f"needs at least {MIN_TRIALS} trials per scheduler, with different scores"
        console.print(f"hyperparameter importance: {needs}", style="dim")
        return
    console.print("hyperparameter importance for a score in the best tenth of the trials, in %:", style="bold")
    width = max(map(len, by_scheduler))
    for name, by_key in by_scheduler.items():
        shares = ", ".join(f"{key} {100 * share:.0f}" for key, share in by_key.items())
        console.print(f"{name:{width}} {shares or f'fewer than {MIN_TRIALS} trials, or all scores are equal'}")
