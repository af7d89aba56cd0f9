"""A single run outside of a sweep."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lrbench import cli
from lrbench.config.compose import load_config, parse_spec
from lrbench.config.paths import data_root
from lrbench.orchestration.progress import ProgressBoard, status_log
from lrbench.results.files import writable_folder, write_result
from lrbench.tracking.browser import browser_hint
from lrbench.tracking.publisher import Publisher

NAME = "train"  # of the folder and of the experiment in MLflow


def run_once(overrides: Sequence[str]) -> None:
    """Train the run that the overrides describe, write its result and publish it.

    Raises ConfigError.
    """
    cfg = load_config("config", overrides)
    configured, out, console = parse_spec(cfg), Path(cfg.out), Console(soft_wrap=True, markup=False)
    trials = out / NAME / "trials"
    with writable_folder(trials):
        from lrbench.training.preflight import preflight  # imports torch, only after the config is checked
        from lrbench.training.resident import Resident
        from lrbench.training.train import Progress, train_one

        resident = Resident(data_root(cfg.data.root))
        with status_log(console) as log:
            spec = configured.resolved(preflight([configured], resident, log))

        def on_progress(progress: Progress) -> None:
            board.progress(spec, vars(progress))
            publisher.publish_points(spec, progress.points)

        with Publisher(out, cfg.tracking.uri, NAME) as publisher:
            with ProgressBoard(console, 1, spec.train.total_steps) as board:
                checkpoint = out / NAME / "checkpoints" / f"{spec.key()}.pt"
                result = train_one(spec, on_progress, checkpoint=checkpoint, resident=resident)
                path = write_result(trials, result)
                board.finish(result)
            publisher.publish(result)
    if publisher.failure:
        sync = cli.command_line("lrbench.sync", [str(out / NAME)])
        console.print(f"MLflow lacks the run ({publisher.failure}); the result is safe. To publish it later: {sync}")
    console.print(f"result:              {path}")
    console.print(f"runs in the browser: {browser_hint(out, cfg.tracking.uri, publisher.page)}")
