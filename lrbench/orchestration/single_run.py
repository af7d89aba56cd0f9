"""A single run outside of a sweep."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lrbench.command_line import command_line
from lrbench.config.compose import load_config, parse_spec
from lrbench.config.paths import data_root
from lrbench.executors.executor import Workspace
from lrbench.orchestration.progress import ProgressBoard, status_log
from lrbench.orchestration.run_events import RunEvents
from lrbench.results.files import writable_folder, write_result
from lrbench.text import plain_console
from lrbench.tracking.browser import published_line
from lrbench.tracking.publisher import open_publisher

NAME = "train"  # of the folder and of the experiment in MLflow


def run_once(overrides: Sequence[str]) -> None:
    """Train the run that the overrides describe, write its result and publish it.

    Raises ConfigError.
    """
    cfg = load_config("config", overrides)
    configured, out, console = parse_spec(cfg), Path(cfg.out), plain_console()
    folder = out / NAME
    workspace = Workspace(folder / "logs", folder / "checkpoints", data_root(cfg.data.root))
    with writable_folder(folder / "trials"):
        from lrbench.training.preflight import preflight  # imports torch, only after the config is checked
        from lrbench.training.run_cache import RunCache
        from lrbench.training.train import train_one

        run_cache = RunCache(workspace.data_root)
        with status_log(console) as log:
            spec = configured.resolved(preflight([configured], run_cache, log))

        with (
            open_publisher(out, cfg.tracking, NAME) as publisher,
            ProgressBoard(console, 1, spec.train.total_steps) as board,
        ):
            events, checkpoint = RunEvents(board, publisher), workspace.checkpoint(spec)
            result = train_one(spec, partial(events.progress, spec), checkpoint=checkpoint, run_cache=run_cache)
            path = write_result(folder / "trials", result)  # before anything reports it
            events.finish(result)
    if publisher.failure:
        sync = command_line("lrbench.sync", [str(folder)])
        console.print(f"MLflow lacks the run ({publisher.failure}); the result is safe. To publish it later: {sync}")
    console.print(f"result:              {path}")
    console.print(f"runs in the browser: {published_line(out, cfg.tracking, publisher, folder)}")
