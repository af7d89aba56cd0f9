"""The catalogue of schedulers, from their config files, their curves and the committed sweeps."""

import importlib.resources
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lrbench.analysis.folder import rank_folder
from lrbench.analysis.row import Row
from lrbench.catalogue.scheduler_card import Card, parse_card
from lrbench.config.compose import group_options, load_config, parse_spec
from lrbench.reporting import plots, sections
from lrbench.reporting.render import load_template
from lrbench.results.files import write_text
from lrbench.schedules.diagnostics import schedule_warnings
from lrbench.schedules.plateau import LiveSchedule
from lrbench.schedules.table import schedule_table, start_schedule
from lrbench.schedules.torch_code import torch_code
from lrbench.search.space import describe_parameter, search_space
from lrbench.spec import TrialSpec

GROUPS = {
    "constant": "The rate is constant, for comparison or as a part of another schedule.",
    "decay": "The rate falls once from the peak. The peak must suit the first steps, because there is no warm-up.",
    "warm-up": "The rate rises to the peak before the decay, so that a high peak does not destroy the initial weights.",
    "cyclic": "The rate rises and falls several times, or once over the whole run.",
    "restarts": "The rate falls and jumps back up.",
    "composite": "These schedulers are made of others.",
    "adaptive": "The rate depends on the validation loss, or an optimizer replaces the schedule.",
}
EPOCHS, STEPS_PER_EPOCH, PEAK = 10, 100, 0.1  # of the curves and of the code
SETTING = (
    "data=synthetic", "data.holdout_images=0", "data.images=10000", "train.batch_size=100", "model=fast_quarter",
    "optimizer=sgd", f"train.epochs={EPOCHS}", f"optimizer.lr={PEAK}",
)  # fmt: skip


class Measurement(NamedTuple):
    """The row of a scheduler in a committed sweep, and its place."""

    sweep: str
    row: Row
    place: int
    of: int


@dataclass(frozen=True)
class Page:
    """The entry of a scheduler. `live` is True if its curve depends on the loss."""

    name: str
    card: Card
    space: Mapping[str, str]
    code: str
    warnings: Sequence[str]
    curve: np.ndarray
    live: bool


def write(folder: Path, sweeps: Path) -> None:
    """Write the page and its pictures into `folder`. `sweeps` has the measurements."""
    pages = {name: scheduler_page(name) for name in group_options("scheduler")}
    (folder / "pictures").mkdir(exist_ok=True)
    for name, page in pages.items():
        plots.save_figure(plots.small_curve(page.curve / PEAK), folder / "pictures" / f"{name}.svg")
    write_text(folder / "README.md", render(pages, measurements(sweeps)))


def render(pages: Mapping[str, Page], measured: Mapping[str, Sequence[Measurement]]) -> str:
    """Return the page as Markdown."""
    by_group = _by_label(pages, "Group")
    policies = [(policy, page.name) for page in pages.values() for policy in page.card.labels.get("LRBench", [])]
    return load_template("catalogue.md", "lrbench.catalogue").render(
        groups={group: by_group[group] for group in GROUPS},
        about=GROUPS,
        families=_by_label(pages, "Like"),
        lrbench_names=dict(sorted(policies)),
        measured=measured,
        steps=EPOCHS * STEPS_PER_EPOCH,
        peak=PEAK,
        percent=lambda fraction: f"{100 * fraction:.2f}",
        isnan=math.isnan,
        arguments_of=sections.chosen_arguments,
        keys=_keys_as_code,
    )


def _by_label(pages: Mapping[str, Page], label: str) -> dict[str, list[Page]]:
    """Return the pages that have a label, by its value."""
    by_value: dict[str, list[Page]] = {}
    for page in pages.values():
        if value := page.card.first(label):
            by_value.setdefault(value, []).append(page)
    return by_value


def scheduler_page(name: str) -> Page:
    """Return the entry of a scheduler."""
    text = importlib.resources.files("lrbench.conf").joinpath("scheduler", f"{name}.yaml").read_text(encoding="utf-8")
    cfg = load_config("config", [*SETTING, f"scheduler={name}"])
    spec = parse_spec(cfg)
    table, live = schedule_table(spec), isinstance(start_schedule(spec), LiveSchedule)
    return Page(
        name=name,
        card=parse_card(name, text),
        space={key: describe_parameter(parameter) for key, parameter in search_space(cfg).items()},
        code=torch_code(spec),
        warnings=schedule_warnings(spec, table),
        curve=_curve_of_stalling_loss(spec) if live else table.lr,
        live=live,
    )


def measurements(sweeps: Path) -> dict[str, list[Measurement]]:
    """Return the rows of each scheduler in the committed sweeps.

    A sweep counts while its config NAME.yaml is beside its folder. The others show something else.
    """
    measured: dict[str, list[Measurement]] = {}
    for path in sorted(sweeps.glob("*/results.jsonl")):
        if not path.parent.with_suffix(".yaml").exists():
            continue
        rows = rank_folder(path.parent).rows
        for place, row in enumerate(rows, 1):
            measured.setdefault(row.scheduler, []).append(Measurement(path.parent.name, row, place, len(rows)))
    return measured


def _keys_as_code(text: str) -> str:
    """Put backticks around config keys and their values, except between backticks.

    >>> _keys_as_code("Set knobs.warmup=0.1, not `args.x`.")
    'Set `knobs.warmup=0.1`, not `args.x`.'
    """
    parts = text.split("`")
    key = r"\b(?:scheduler|optimizer|train|knobs|args)[.=][\w.=/-]*\w"
    parts[::2] = [re.sub(key, r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts)


def _curve_of_stalling_loss(spec: TrialSpec) -> np.ndarray:
    """Return the rates of a live scheduler for a loss that falls in the first third of the run."""
    live = start_schedule(spec)
    rates = []
    for step in range(spec.train.total_steps):
        rates.append(live.rate(step))
        if (step + 1) % round(spec.train.eval_epochs * spec.train.steps_per_epoch) == 0:
            live.observe(max(1 - step / spec.train.total_steps, 2 / 3))
    return np.array(rates)
