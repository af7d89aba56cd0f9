"""Report on finished sweeps: `python -m lrbench.report runs/quick`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lrbench import __version__, cli
from lrbench.analysis.folder import rank_folder
from lrbench.orchestration.verify import verify_row
from lrbench.reporting.report import write_report
from lrbench.reporting.several import comparison_parts
from lrbench.reporting.terminal import print_ranking, print_table
from lrbench.spec import ConfigError
from lrbench.text import plain_console


def main() -> None:
    """Write the report of a sweep, compare several sweeps, or train a row of a ranking again."""
    console = plain_console()
    with cli.exit_codes():
        options = _parser().parse_args()
        folders = list(dict.fromkeys(options.folder))
        _check(options, folders)
        if options.verify:
            folder, name = options.verify
            sys.exit(0 if verify_row(rank_folder(Path(folder)), name, console.print, options.allow) else 1)
        if len(folders) > 1:
            _report_several(console, folders)
        else:
            _report_one(console, folders[0], options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lrbench.report", description=main.__doc__)
    add = parser.add_argument
    add("--version", action="version", version=f"lrbench {__version__}")
    add("folder", type=Path, nargs="*", help="the folder of a sweep, such as runs/quick or sweeps/quick")
    add("--baseline", help="the scheduler to compare the others with (default: constant)")
    add("--target", type=float, help="report the time to this validation accuracy, such as 0.6")
    add("--delta", type=float, help="a difference of test accuracy that does not matter, such as 0.003")
    again = "train the final runs of a scheduler again, or only the run of SEED; exit with 0 if they agree, else 1"
    add("--verify", nargs=2, metavar=("FOLDER", "SCHEDULER[:SEED]"), help=again)
    allow = "with --verify: prefixes of your own modules that the runs may import, such as my_package"
    add("--allow", nargs="*", default=[], metavar="PREFIX", help=allow)
    return parser


def _check(options: argparse.Namespace, folders: Sequence[Path]) -> None:
    """Raise ConfigError for an option that would have no effect."""
    if options.target is not None and not 0 < options.target < 1:
        raise ConfigError(f"--target={options.target:g}: must be between 0 and 1, such as 0.6")
    if options.allow and not options.verify:
        raise ConfigError("--allow: must be given with --verify, because only --verify trains")
    if options.verify and folders:
        raise ConfigError(f"--verify: must be given without other folders; got {folders[0]}")
    if not options.verify and not folders:
        raise ConfigError("FOLDER: must be given, such as runs/quick")
    if options.delta is not None and not 0 < options.delta < 1:
        raise ConfigError(f"--delta={options.delta:g}: must be a fraction between 0 and 1, such as 0.003")
    for name in ("baseline", "target", "delta"):
        value = getattr(options, name)
        if value is not None and (options.verify or len(folders) > 1):
            raise ConfigError(f"--{name}={value}: must be given with one folder, for the report of one sweep")


def _report_one(console: Console, folder: Path, options: argparse.Namespace) -> None:
    baseline, target, delta = options.baseline, options.target, options.delta
    if not (folder / "trials").is_dir():  # committed results, which have only the last value of each curve
        if target is not None:
            raise ConfigError(
                f"--target={target:g}: must be given with a folder that has trials/; {folder} has no curves"
            )
        print_ranking(console, rank_folder(folder, None, baseline, target, delta))
        return
    print_ranking(console, write_report(folder, baseline, target, delta))
    console.print(f"report: {folder / 'report.md'}, {folder / 'report.html'}")


def _report_several(console: Console, folders: Sequence[Path]) -> None:
    rankings = {str(folder): rank_folder(folder) for folder in folders}
    for title, table, notes in comparison_parts(rankings):
        print_table(console, table, title)
        for note in notes:
            console.print(note)


if __name__ == "__main__":
    main()
