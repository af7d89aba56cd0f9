"""Compare schedulers: for each a search, then final runs, then the report. `python -m lrbench.sweep` is the sweep `quick`."""

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from lrbench import cli, config, plan, provenance, results, search, ui
from lrbench.contender import Contender
from lrbench.display import Board, saying
from lrbench.executors import Checkpoints, Executor, Inline, LocalWorkers, OnProgress, RunError
from lrbench.plan import Plan
from lrbench.results import TrialResult
from lrbench.spec import Machine, TrialSpec
from lrbench.tracking import Publisher


def sweep(overrides: Sequence[str]) -> None:
    """Run the sweep that the overrides describe. What its folder holds already is not trained again."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    planned, again = plan.make(overrides), cli.command_line("lrbench.sweep", overrides)
    if planned.first.dry_run:
        from lrbench import preview  # with torch, which the coordinator can do without

        preview.show(planned, console)
        return
    board = Board(console, planned.runs, planned.steps)

    def on_progress(spec: TrialSpec, progress: dict[str, Any]) -> None:
        board.progress(spec, progress)
        publisher.grow(spec, progress["points"])

    with plan.claimed(planned), _told_how_to_go_on(again):
        known = {result.spec.key(): result for result in results.read_all(planned.folder / "trials")}
        with _executor(planned, on_progress) as executor:
            contenders = _contenders(planned, executor, known.values(), console, again)
            with Publisher(Path(planned.first.out), planned.first.tracking.uri, planned.settings.name) as publisher:
                with board:
                    failures = train_all(contenders, executor, known, planned.folder / "trials", board, publisher)
                _finish(planned, contenders, publisher, console, overrides)
    if failures:
        console.print(f"{failures} runs failed and their results are missing. To try them again: {again}", style="red")
        sys.exit(1)


@contextmanager
def _told_how_to_go_on(again: str) -> Iterator[None]:
    """Add the command that goes on to what an interrupt, or an executor that does not come to anything, has to say."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; what is finished is safe. To go on: {again}") from None
    except RunError as error:
        sys.exit(f"error: {error}\nTo try again: {again}")


def _contenders(planned: Plan, executor: Executor, known: Iterable[TrialResult], console: Console, again: str) -> list[Contender]:
    """Examine what is to be trained, write down that the sweep is started, and say what it is."""
    with saying(console) as say:
        machine = executor.examine(planned.specs(), say)
    plan.write_config(planned)
    provenance.record_start(planned.folder, again)
    console.print(_introduction(planned, machine, executor.runs_at_once))
    studies = planned.studies(known, console.print)
    return [Contender(cfg, planned.settings, machine, executor.runs_at_once, studies[name]) for name, cfg in planned.configs.items()]


def train_all(
    contenders: Sequence[Contender],
    executor: Executor,
    known: Mapping[str, TrialResult],
    trials: Path,
    board: Board,
    publisher: Publisher,
) -> int:
    """Train what is not known into the folder `trials`, and return the number of runs that failed.

    A run waits for another only where its study must know of that one first.
    """
    running: dict[Future[TrialResult], tuple[Contender, TrialSpec]] = {}
    unasked, failures = deque(contenders), 0
    while unasked or running:
        while unasked:
            contender = unasked.popleft()
            specs = contender.ready()
            board.spare(contender.spared)
            contender.spared.clear()
            for spec in specs:
                if result := known.get(spec.key()):
                    contender.take(spec, result)
                    publisher.publish(result)
                    board.known(result)
                    unasked.append(contender)
                else:
                    running[executor.submit(spec, partial(contender.watch, spec))] = contender, spec
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            contender, spec = running.pop(future)
            try:
                result = future.result()
            except RunError as failure:
                failures += 1
                contender.take(spec, None)
                publisher.fail(spec, str(failure))
                board.failed(spec, str(failure))
            else:
                results.write(trials, result)  # before anyone is told
                contender.take(spec, result)
                publisher.publish(result)
                board.finished(result)
            unasked.append(contender)
    return failures


@contextmanager
def _executor(planned: Plan, on_progress: OnProgress) -> Iterator[Executor]:
    settings = planned.settings.executor
    inline = settings.name == "inline"
    logs, checkpoints = planned.folder / "logs", Checkpoints(planned.folder / "checkpoints", settings.checkpoint_seconds)
    executor: Executor = (
        Inline(checkpoints, on_progress)
        if inline
        else LocalWorkers(settings.workers, logs, checkpoints, on_progress, settings.silence_seconds)
    )
    try:
        yield executor
    finally:
        executor.close()


def _introduction(planned: Plan, machine: Machine, runs_at_once: int) -> str:
    settings, spec = planned.settings, planned.specs()[0].settled(machine)
    return (
        f"sweep {settings.name}: {len(settings.schedulers)} schedulers, {settings.n_trials} trials and {settings.final_seeds} final runs "
        f"each: {planned.runs} runs of {spec.train.total_steps} steps on {spec.device} in {spec.train.precision}, "
        f"{runs_at_once} at once, into {planned.folder}"
    )


def _finish(planned: Plan, contenders: Sequence[Contender], publisher: Publisher, console: Console, overrides: Sequence[str]) -> None:
    """Write the report, see the runs published, and say where everything is and what may come next."""
    from lrbench import report, sync  # with scipy and pandas, which take as long to import as the rest

    ranking = report.write(planned.folder)
    sync.publish_summary(publisher, planned.folder, results.read_all(planned.folder / "trials"), ranking)
    report.show(console, ranking)
    _show_importances(contenders, console)
    publisher.close(say=console.print)
    if publisher.failure:
        later = cli.command_line("lrbench.sync", [str(planned.folder)])
        console.print(f"MLflow does not have all runs ({publisher.failure}); the results are safe. To publish them later: {later}")
    others = [text for text in overrides if not text.startswith("n_trials=")]
    lines = {
        "report": f"{planned.folder / 'report.md'}, {planned.folder / 'report.html'}",
        "runs in the browser": ui.hint(Path(planned.first.out), planned.first.tracking.uri, publisher.page),
        "search further": cli.command_line("lrbench.sweep", [*others, f"n_trials={4 * planned.settings.n_trials}"]),
        "train with the best": cli.command_line("lrbench.train", _as_overrides(ranking.rows[0].runs[0].spec, list(planned.first.allow))),
    }
    for what, text in lines.items():
        console.print(f"{what + ':':20} {text}")


def _show_importances(contenders: Sequence[Contender], console: Console) -> None:
    """Print which hyperparameters mattered in the searches."""
    found = {contender.cfg.scheduler.name: contender.study.importances() for contender in contenders}
    if not any(found.values()):
        console.print(f"which hyperparameters mattered: {search.MIN_TRIALS} trials of a scheduler are the least to tell", style="dim")
        return
    console.print("which hyperparameters mattered for the best tenth of the trials, in %:", style="bold")
    width = max(map(len, found))
    for name, importances in found.items():
        shares = ", ".join(f"{key} {100 * share:.0f}" for key, share in importances.items())
        console.print(f"{name:{width}} {shares or f'fewer than {search.MIN_TRIALS} trials, or all alike'}")


def _as_overrides(spec: TrialSpec, allow: list[str]) -> list[str]:
    """Return what of a run is not so in the config files, as the overrides of `lrbench.train` that repeat it."""
    choices = [f"{group}={getattr(spec, group).name}" for group in ("data", "model", "optimizer", "scheduler")]
    allowed = [f"allow=[{','.join(allow)}]"] if allow else []
    usual, files = (config.parse(config.load("config", chosen)) for chosen in ([], [*choices, *allowed]))
    decided = ("total_steps", "steps_per_epoch", "threads", "precision")  # from other keys, and for this machine
    sections = {"data": (spec.data, files.data), "train": (spec.train, files.train)}
    changes = {
        f"{section}.{key}": value
        for section, (chosen, before) in sections.items()
        for key, value in chosen.model_dump().items()
        if value != getattr(before, key) and key not in decided
    }
    changes |= {f"model.args.{key}": value for key, value in spec.model.args.items() if value != files.model.args[key]}
    groups = [f"{group}={getattr(spec, group).name}" for group in ("data", "model", "optimizer")]
    unusual = [choice for choice in groups if choice.partition("=")[2] != getattr(usual, choice.partition("=")[0]).name]
    return [
        f"scheduler={spec.scheduler.name}",
        *unusual,
        *allowed,
        *(f"{key}={value}" for key, value in {**changes, **spec.sampled}.items()),
    ]


def main() -> None:
    """Run the sweep of the command line."""
    plan.register_sweeps()
    cli.command("sweep", sweep)


if __name__ == "__main__":
    main()
