"""One run: `python -m lrbench.train scheduler=cosine optimizer.lr=0.5`; several with Hydra's `-m`."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lrbench import cli, config, results, ui
from lrbench.display import Board, saying
from lrbench.tracking import Publisher


def run_once(overrides: Sequence[str]) -> None:
    """Train the run that the overrides describe, print how it went, write its result and publish it."""
    cfg = config.load("config", overrides)
    config.set_data_root(cfg)
    parsed, out, console = config.parse(cfg), Path(cfg.out), Console(soft_wrap=True, markup=False)
    with results.folder_for_runs(out / "train" / "trials"):
        from lrbench import examination, loop  # torch, not before the config is known to be right

        with saying(console) as say:
            spec = parsed.settled(examination.examine([parsed], say))

        def on_progress(progress: loop.Progress) -> None:
            board.progress(spec, vars(progress))
            publisher.grow(spec, progress.points)

        with Publisher(out, cfg.tracking.uri, "train") as publisher:
            with Board(console, 1, spec.train.total_steps) as board:
                checkpoint = out / "train" / "checkpoints" / f"{spec.key()}.pt"
                result = loop.train_one(spec, on_progress, checkpoint=checkpoint)
                path = results.write(out / "train" / "trials", result)
                board.finished(result)
            publisher.publish(result)
    if publisher.failure:
        console.print(f"MLflow does not have the run ({publisher.failure}); its result is safe")
    console.print(f"result:              {path}")
    console.print(f"runs in the browser: {ui.hint(out, cfg.tracking.uri, publisher.page)}")


def main() -> None:
    """Train once, or once for each job of a multirun, with the overrides of the command line."""
    cli.command("config", run_once)


if __name__ == "__main__":
    main()
