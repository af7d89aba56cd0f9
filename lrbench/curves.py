"""Learning-rate curves without training: `python -m lrbench.curves schedulers=all`, or with the overrides of a run."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from lrbench import cli, config, plan, results, search
from lrbench.spec import ConfigError, TrialSpec

if TYPE_CHECKING:
    from lrbench.schedules import Schedule

MAX_IN_FULL = 3  # schedulers that are printed with a plot; of more, each gets a line
PLOT_WIDTH, PLOT_HEIGHT = 60, 8  # characters
BLOCKS = "▁▂▃▄▅▆▇█"
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille character, by row and column


def draw(overrides: Sequence[str]) -> None:
    """Write the rates of the schedulers that the overrides describe as a table and as pictures, and print what is to be known of them."""
    configs = _configs(overrides)
    out = Path(next(iter(configs.values())).out)
    specs = {name: config.parse(cfg) for name, cfg in configs.items()}
    with results.folder_for_runs(out):
        from lrbench import checks, schedules  # torch, not before the config is known to be right

        tables = {name: schedules.table(spec) for name, spec in specs.items()}
    found = {name: checks.findings(spec, tables[name]) for name, spec in specs.items()}
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if len(specs) > MAX_IN_FULL:
        _print_lines(console, tables, found)
    else:
        for name, spec in specs.items():
            _print_in_full(console, configs[name], spec, tables[name], found[name])
    write_table(out / "curves.csv", specs, tables)
    _write_pictures(out, tables)
    console.print(f"written: {out / 'curves.csv'} and pictures beside it, all of the curves in {out / 'all.png'}")


def write_table(path: Path, specs: Mapping[str, TrialSpec], tables: Mapping[str, "Schedule"]) -> None:
    """Write a row for each scheduler and optimizer step; the momentum is empty where the scheduler leaves it alone."""
    with path.open("w", encoding="utf-8") as file:
        file.write("scheduler,step,epoch,lr,momentum\n")
        for name, table in tables.items():
            steps = range(len(table.lr))
            epochs = (np.arange(len(table.lr)) / specs[name].train.steps_per_epoch).tolist()
            momentum = [""] * len(steps) if table.momentum is None else table.momentum.tolist()
            rows = zip(steps, epochs, table.lr.tolist(), momentum, strict=True)
            file.writelines(f"{name},{step},{epoch},{lr},{beta}\n" for step, epoch, lr, beta in rows)


def sparkline(values: np.ndarray, width: int) -> str:
    """Return the values in a line of at most `width` characters, from zero to their highest.

    >>> sparkline(np.array([0.0, 0.25, 0.5, 1.0]), 20)
    '▁▃▅█'
    """
    sampled = values[np.linspace(0, len(values) - 1, min(width, len(values))).round().astype(int)]
    levels = sampled / (values.max() or 1.0) * (len(BLOCKS) - 1)
    return "".join(BLOCKS[int(level + 0.5)] for level in levels)


def plot(values: np.ndarray, width: int, height: int) -> list[str]:
    """Return a plot of the values in `height` lines of `width` braille characters, from zero to their highest.

    >>> plot(np.array([0.0, 1.0]), 2, 1)
    ['⣀⠏']
    """
    rows = 4 * height
    columns = values[np.arange(2 * width) * len(values) // (2 * width)]
    levels = np.rint(columns / (values.max() or 1.0) * (rows - 1)).astype(int)
    cells = np.zeros((height, width), dtype=int)
    before = levels[0]
    for column, level in enumerate(levels):
        low, high = sorted((level, before + np.sign(level - before)))  # joined to its neighbour, without a gap
        for dot in range(low, high + 1):
            row = rows - 1 - dot
            cells[row // 4, column // 2] |= DOTS[row % 4][column % 2]
        before = level
    return ["".join(chr(0x2800 + cell) for cell in line) for line in cells]


def _configs(overrides: Sequence[str]) -> dict[str, DictConfig]:
    """Return the config of each scheduler, by its name."""
    alone = [text for text in overrides if text.startswith("scheduler=")]
    schedulers = config.load("curves", plan.of_no_scheduler(overrides)).schedulers
    if schedulers is None:
        cfg = config.load("curves", overrides)
        return {cfg.scheduler.name: cfg}
    if alone:
        raise ConfigError(f"{alone[0]} and schedulers={schedulers}: one of the two is enough")
    names = plan.chosen(OmegaConf.to_container(schedulers) if OmegaConf.is_config(schedulers) else schedulers)
    return plan.for_each("curves", overrides, names)


def _write_pictures(out: Path, tables: Mapping[str, "Schedule"]) -> None:
    from lrbench import pictures

    curves = {}
    for name, table in tables.items():
        kept = results.thinned(len(table.lr))
        curves[name] = results.Curve(steps=kept, values=table.lr[kept].tolist(), times=[0] * len(kept))
    figures = {name: pictures.lr_curves({name: curve}) for name, curve in curves.items()}
    figures |= {"overlay": pictures.lr_overlay(curves)}
    if len(curves) > 1:
        figures |= {"all": pictures.lr_curves(curves)}
    for name, figure in figures.items():
        pictures.save_both(figure, out / name)
    if len(curves) == 1:
        for ending in (".png", ".svg"):
            shutil.copy(out / f"{name}{ending}", out / f"all{ending}")


def _print_in_full(console: Console, cfg: DictConfig, spec: TrialSpec, table: "Schedule", found: Sequence[str]) -> None:
    console.print(Text(spec.scheduler.name, style="bold"), f"{spec.train.total_steps} steps, {spec.train.epochs:g} epochs")
    lines = plot(table.lr, PLOT_WIDTH, PLOT_HEIGHT)
    edges = {0: f"{table.lr.max():.4g}", len(lines) - 1: "0"}
    for number, line in enumerate(lines):
        console.print(f"{edges.get(number, ''):>8} {line}")
    last = f"peak at step {int(table.lr.argmax())}, first rate {table.lr[0]:.4g}, last {table.lr[-1]:.4g}"
    values = {
        "rate": last,
        "knobs": _values(spec.scheduler.knobs),
        "args": _values(spec.scheduler.args),
        "interval": spec.scheduler.interval,
        "search": _search(cfg),
    }
    for what, text in values.items():
        if text:
            console.print(f"{what + ':':9} {text}")
    for finding in found:
        console.print(f"finding:  {finding}", style="yellow")
    console.print()


def _print_lines(console: Console, tables: Mapping[str, "Schedule"], found: Mapping[str, Sequence[str]]) -> None:
    width = max(map(len, tables))
    for name, table in tables.items():
        count = f"{len(found[name])} finding{'s' if len(found[name]) > 1 else ''}" if found[name] else ""
        curve = sparkline(table.lr, 24)
        console.print(f"{name:{width}} {curve:24} peak {table.lr.max():<8.4g} last {table.lr[-1]:<9.4g} {count}".rstrip())
    for name, sentences in found.items():
        for finding in sentences:
            console.print(f"{name}: {finding}", style="yellow")


def _values(values: Mapping[str, object]) -> str:
    return " ".join(f"{name}={f'{value:.6g}' if isinstance(value, float) else value}" for name, value in values.items())


def _search(cfg: DictConfig) -> str:
    try:
        return "; ".join(f"{key} {search.describe(distribution)}" for key, distribution in search.space(cfg).items())
    except ConfigError as error:  # it can be drawn all the same
        return f"none that holds this point: {error}"


def main() -> None:
    """Draw the curves of the command line."""
    cli.command("curves", draw)


if __name__ == "__main__":
    main()
