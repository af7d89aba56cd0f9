"""Learning-rate curves without training: a table, pictures, and text for the terminal."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.text import Text

from lrbench.config.compose import parse_spec
from lrbench.config.schedulers import configs_of_curves, where_possible
from lrbench.reporting.terminal import ASCII_BLOCKS, BLOCKS, braille_plot, draws_unicode, sparkline
from lrbench.results.files import writable_folder
from lrbench.results.result import Curve, thinned
from lrbench.search.space import describe_parameter, search_space
from lrbench.spec import ConfigError, TrialSpec
from lrbench.text import counted, plain_console

if TYPE_CHECKING:
    from lrbench.schedules.table import Schedule  # with torch, which a rejected config does not need

MAX_IN_FULL = 3  # schedulers that are printed with a plot; with more, each gets a line
PLOT_WIDTH, PLOT_HEIGHT, LINE_WIDTH = 60, 8, 24  # characters
LIVE_NOTE = "the scheduler follows the validation loss; this is its curve as long as the loss falls"


def draw_curves(overrides: Sequence[str]) -> bool:
    """Write the learning rates of schedulers as a table and pictures, and print a description.

    Returns False if some schedulers have no curve in such a run, and draws the others. Raises
    ConfigError if the overrides are invalid, or fit none of the schedulers.
    """
    configs = configs_of_curves(overrides)
    out = Path(next(iter(configs.values())).out)
    specs, without_spec = where_possible(configs, parse_spec)
    with writable_folder(out):
        from lrbench.schedules.diagnostics import schedule_warnings  # imports torch, after the config is checked
        from lrbench.schedules.table import schedule_table

        tables, failures = where_possible(specs, schedule_table)
    warnings = {name: schedule_warnings(specs[name], table) for name, table in tables.items()}
    console = plain_console()
    if len(tables) > MAX_IN_FULL:
        _print_lines(console, tables, warnings)
    else:
        for name, table in tables.items():
            _print_in_full(console, configs[name], specs[name], table, warnings[name])
    write_table(out / "curves.csv", specs, tables)
    write_pictures(out, tables)
    failures |= without_spec
    for name, message in failures.items():
        console.print(f"{name}: not drawn; {message}", style="red")
    console.print(f"written: {out / 'curves.csv'}, and pictures of all curves in {out / 'all.png'}")
    return not failures


def write_table(path: Path, specs: Mapping[str, TrialSpec], tables: Mapping[str, "Schedule"]) -> None:
    """Write a row for each scheduler and optimizer step.

    The momentum is empty if the scheduler does not set it.
    """
    with path.open("w", encoding="utf-8") as file:
        file.write("scheduler,step,epoch,lr,momentum\n")
        for name, table in tables.items():
            steps = range(len(table.lr))
            epochs = (np.arange(len(table.lr)) / specs[name].train.steps_per_epoch).tolist()
            momentum = [""] * len(steps) if table.momentum is None else table.momentum.tolist()
            rows = zip(steps, epochs, table.lr.tolist(), momentum, strict=True)
            file.writelines(f"{name},{step},{epoch},{lr},{beta}\n" for step, epoch, lr, beta in rows)


def write_pictures(out: Path, tables: Mapping[str, "Schedule"]) -> None:
    """Write a picture of each curve, one of all curves, and an overlay in one axis."""
    from lrbench.reporting import plots

    curves = {}
    for name, table in tables.items():
        steps = thinned(len(table.lr))
        curves[name] = Curve(steps=steps, values=table.lr[steps].tolist(), times=[0] * len(steps))
    figures = {name: plots.lr_curves({name: curve}) for name, curve in curves.items()}
    figures["overlay"] = plots.lr_overlay(curves)
    if len(curves) > 1:
        figures["all"] = plots.lr_curves(curves)
    for name, figure in figures.items():
        plots.save_both(figure, out / name)
    if len(curves) == 1:
        for ending in (".png", ".svg"):
            shutil.copy(out / f"{next(iter(curves))}{ending}", out / f"all{ending}")


def _print_in_full(
    console: Console, cfg: DictConfig, spec: TrialSpec, table: "Schedule", warnings: Sequence[str]
) -> None:
    from lrbench.schedules.plateau import is_live

    length = f"{counted(spec.train.total_steps, 'step')}, {counted(spec.train.epochs, 'epoch')}"
    console.print(Text(spec.scheduler.name, style="bold"), length)
    lines = braille_plot(table.lr, PLOT_WIDTH, PLOT_HEIGHT, ascii_only=not draws_unicode(console))
    labels = {0: f"{table.lr.max():.4g}", len(lines) - 1: "0"}
    for number, line in enumerate(lines):
        console.print(f"{labels.get(number, ''):>8} {line}")
    peak = f"peak at step {int(table.lr.argmax())}, first {table.lr[0]:.4g}, last {table.lr[-1]:.4g}"
    facts = {
        "rate": peak,
        "knobs": _as_text(spec.scheduler.knobs),
        "args": _as_text(spec.scheduler.args),
        "interval": spec.scheduler.interval,
        "search": _search_text(cfg),
        "note": LIVE_NOTE if is_live(spec) else "",
    }
    for label, text in facts.items():
        if text:
            console.print(f"{label + ':':9} {text}")
    for warning in warnings:
        console.print(f"warning:  {warning}", style="yellow")
    console.print()


def _print_lines(console: Console, tables: Mapping[str, "Schedule"], warnings: Mapping[str, Sequence[str]]) -> None:
    width = max(map(len, tables))
    blocks = BLOCKS if draws_unicode(console) else ASCII_BLOCKS
    for name, table in tables.items():
        count = counted(len(warnings[name]), "warning") if warnings[name] else ""
        rates = f"peak {table.lr.max():<8.4g} last {table.lr[-1]:<9.4g} {count}"
        console.print(f"{name:{width}} {sparkline(table.lr, LINE_WIDTH, blocks):{LINE_WIDTH}} {rates}".rstrip())
    for name, sentences in warnings.items():
        for warning in sentences:
            console.print(f"{name}: {warning}", style="yellow")


def _as_text(values: Mapping[str, object]) -> str:
    return " ".join(f"{name}={f'{value:.6g}' if isinstance(value, float) else value}" for name, value in values.items())


def _search_text(cfg: DictConfig) -> str:
    try:
        return "; ".join(f"{key} {describe_parameter(parameter)}" for key, parameter in search_space(cfg).items())
    except ConfigError as error:  # the curve is valid, even if its values are outside the search space
        return f"invalid: {error}"
