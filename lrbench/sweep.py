"""Compare schedulers: `python -m lrbench.sweep` is the sweep `quick`."""

from collections.abc import Sequence

from lrbench import cli
from lrbench.config.sweep_files import register_sweeps
from lrbench.orchestration.plan import make_plan
from lrbench.orchestration.sweep import run_sweep
from lrbench.text import plain_console


def sweep(overrides: Sequence[str]) -> bool:
    """Run the sweep that the overrides describe, or describe it (`dry_run=true`).

    Returns False if a run failed, or if there is nothing to report.
    """
    console, plan = plain_console(), make_plan(overrides)
    if plan.shared.dry_run:
        from lrbench.orchestration.dry_run import dry_run  # imports torch, which a sweep leaves to its workers

        dry_run(plan, console)
        return True
    return run_sweep(plan, overrides, console)


def main() -> None:
    """Compare schedulers: a search for each, then final runs, then a report."""
    register_sweeps()
    cli.command("sweep", sweep)


if __name__ == "__main__":
    main()
