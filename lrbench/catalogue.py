"""The catalogue of schedulers, one page: from their config files, their curves and the committed sweeps.

`python -m lrbench.catalogue` writes conf/scheduler/README.md and its pictures anew. What a scheduler is for stands in the comments at
the head of its file, a labelled line each; what an argument is, in the comment beside it.
"""

import argparse
import ast
import importlib.resources
import inspect
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import yaml
from hydra import initialize_config_module

from lrbench import checks, comparison, config, pictures, results, schedules, search, sections
from lrbench.spec import TrialSpec

GROUPS = {
    "constant": "The same rate, for comparison or as a part of something else.",
    "decay": "From the peak down, once. The peak must suit the first steps, as nothing leads up to it.",
    "warm-up": "A rise to the peak before the decay, so that a high peak does not throw the first weights away.",
    "cyclic": "The rate rises and falls several times, or once over the whole run.",
    "restarts": "The rate falls and jumps back up.",
    "composite": "Schedulers made of others.",
    "adaptive": "What is done depends on how training goes, or the optimizer takes the schedule's place.",
}
LABELS = ("Group", "Like", "LRBench", "Formula", "Recommended", "Use", "Avoid", "Trap")
EPOCHS, STEPS_PER_EPOCH, PEAK = 10, 100, 0.1  # of the curves, and of the code by hand
SETTING = (
    "data=synthetic", "data.holdout_images=0", "data.images=10000", "train.batch_size=100", "model=fast_quarter", "optimizer=sgd",
    f"train.epochs={EPOCHS}", f"optimizer.lr={PEAK}",
)  # fmt: skip


class Argument(NamedTuple):
    """A knob or argument: its config key, its value as written, and what it is."""

    key: str
    default: str
    meaning: str


class Measured(NamedTuple):
    """How a scheduler came out of a committed sweep."""

    sweep: str
    row: comparison.Row
    place: int
    of: int


@dataclass(frozen=True)
class Page:
    """What the catalogue says of a scheduler; `labels` are those of its file, each with its lines."""

    name: str
    summary: str
    labels: Mapping[str, Sequence[str]]
    arguments: Sequence[Argument]
    space: Mapping[str, str]
    code: str
    findings: Sequence[str]
    curve: np.ndarray
    live: bool  # whether the curve depends on the loss

    def first(self, label: str) -> str:
        """Return a label's only line; nothing where there is none."""
        return (self.labels.get(label) or [""])[0]


def write(folder: Path, sweeps: Path) -> None:
    """Write the page of all schedulers and their pictures into `folder`, with what the sweeps in `sweeps` measured."""
    pages = {name: page(name) for name in config.options("scheduler")}
    (folder / "pictures").mkdir(exist_ok=True)
    for name, one in pages.items():
        pictures.save(pictures.small_curve(one.curve / PEAK), folder / "pictures" / f"{name}.svg")
    results.write_text(folder / "README.md", render(pages, measured(sweeps)))


def render(pages: Mapping[str, Page], sweeps: Mapping[str, Sequence[Measured]]) -> str:
    """Return the page as Markdown."""
    template = importlib.resources.files("lrbench").joinpath("catalogue.md.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    families = {name: [page for page in pages.values() if page.first("Like") == name] for name in pages}
    values = {
        "groups": {group: [page for page in pages.values() if page.first("Group") == group] for group in GROUPS},
        "about": GROUPS,
        "families": {name: members for name, members in families.items() if members},
        "lrbench_names": dict(sorted((policy, page.name) for page in pages.values() for policy in page.labels.get("LRBench", []))),
        "measured": sweeps,
        "steps": EPOCHS * STEPS_PER_EPOCH,
        "peak": PEAK,
        "percent": lambda fraction: f"{100 * fraction:.2f}",
        "isnan": math.isnan,
        "arguments_of": sections.arguments,
        "keys": _keys_as_code,
    }
    return environment.from_string(template).render(values)


def _keys_as_code(text: str) -> str:
    """Put config keys, with their values, into backticks, but for those that are in some."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"\b(?:scheduler|optimizer|train|knobs|args)[.=][\w.=/-]*\w", r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts)


def page(name: str) -> Page:
    """Return what there is to say of a scheduler of lrbench."""
    text = importlib.resources.files("lrbench.conf").joinpath("scheduler", f"{name}.yaml").read_text(encoding="utf-8")
    summary, labels = head(text)
    cfg = config.load("config", [*SETTING, f"scheduler={name}"])
    spec = config.parse(cfg)
    table, live = schedules.table(spec), isinstance(schedules.start(spec), schedules.LiveSchedule)
    return Page(
        name=name,
        summary=summary,
        labels=labels,
        arguments=arguments(text),
        space={key: search.describe(distribution) for key, distribution in search.space(cfg).items()},
        code=code(spec),
        findings=checks.findings(spec, table),
        curve=_with_a_loss_that_stalls(spec) if live else table.lr,
        live=live,
    )


def head(text: str) -> tuple[str, dict[str, list[str]]]:
    """Return the first sentence and the labelled lines of the comments at the head of a scheduler's file. Raises ValueError.

    >>> head("# A line (me).\\n#\\n# Group: decay\\n# Trap: one\\n# Trap: two\\nname: line\\n")
    ('A line (me).', {'Group': ['decay'], 'Trap': ['one', 'two']})
    """
    summary, *lines = (line[2:] for line in itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))
    labels: dict[str, list[str]] = {}
    for line in filter(None, lines):
        label, colon, value = line.partition(": ")
        if not colon or label not in LABELS:
            raise ValueError(f"not a labelled line: {line!r}; the labels are {', '.join(LABELS)}")
        labels.setdefault(label, []).append(value)
    return summary, labels


def arguments(text: str) -> list[Argument]:
    """Return the knobs and arguments of a scheduler's file, with the comments beside them.

    >>> arguments("knobs: {}\\nargs:\\n  power: 1.0 # of the line\\n")
    [Argument(key='scheduler.args.power', default='1.0', meaning='of the line')]
    """
    found, section, node = [], "", yaml.safe_load(text)
    for line in text.splitlines():
        if key := re.match(r"(\w+):", line):
            section = key[1]
        elif section in ("knobs", "args") and (key := re.match(r"  (\w+):([^#]*)(?:# (.*))?$", line)):
            whole = isinstance(node[section][key[1]], dict | list) and not key[2].strip()
            found.append(Argument(f"scheduler.{section}.{key[1]}", "see below" if whole else key[2].strip(), key[3] or ""))
    return found


def code(spec: TrialSpec) -> str:
    """Return the scheduler as a user of torch writes it down, for the run of `spec`; nothing for what torch has no words for."""
    target, steps = spec.scheduler.target, spec.train.total_steps
    if target.startswith("torch."):
        return "scheduler = " + _scheduler_call({"_target_": target, "args": spec.scheduler.args}, spec)
    if target.startswith("lrbench.factors."):
        args = [f"{name}={_literal(value)}" for name, value in spec.scheduler.args.items()]
        factor = _call(f"factors.{target.rpartition('.')[2]}", [f"np.arange({steps})", str(steps), *args])
        return f"factor = {factor}\nscheduler = lr_scheduler.LambdaLR(optimizer, lambda step: factor[min(step, {steps - 1})])"
    return ""


def _scheduler_call(node: Mapping[str, Any], spec: TrialSpec) -> str:
    """Return the call that makes a scheduler, without the arguments that have torch's defaults."""
    target = schedules.locate(node["_target_"])
    known = inspect.signature(target).parameters
    args = {name: value for name, value in node["args"].items() if value is not None and value != known[name].default}
    members = ["    " + _scheduler_call(member, spec).replace("\n", "\n    ") + ",\n" for member in args.pop("schedulers", [])]
    written = [
        f"{name}={_formula(value, spec) if name in schedules.FORMULA_ARGUMENTS else _literal(value)}" for name, value in args.items()
    ]
    if members:
        written = [f"schedulers=[\n{''.join(members)}]", *written]
    return _call(f"lr_scheduler.{target.__name__}", ["optimizer=optimizer" if members else "optimizer", *written])


def _call(function: str, args: Sequence[str]) -> str:
    """Return a call in one line, or with a line for each argument where that would be long."""
    line = f"{function}({', '.join(args)})"
    if len(line) <= 100 and "\n" not in line:
        return line
    lines = "".join("    " + arg.replace("\n", "\n    ") + ",\n" for arg in args)
    return f"{function}(\n{lines})"


def _literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _formula(text: str, spec: TrialSpec) -> str:
    """Return a formula of the config as Python."""
    steps = spec.train.total_steps
    names = {
        "progress": f"step / {steps}",
        "epoch": f"step / {spec.train.steps_per_epoch}",
        "total_steps": f"{steps}",
        "scheduler_steps": f"{steps}",
    }
    names |= {name: repr(value) for name, value in spec.scheduler.knobs.items()}

    class Written(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:  # ast's name for it
            return ast.parse(names[node.id], mode="eval").body if node.id in names else node

    return f"lambda step: {ast.unparse(Written().visit(ast.parse(text, mode='eval')))}"


def _with_a_loss_that_stalls(spec: TrialSpec) -> np.ndarray:
    """Return the rates of a scheduler that looks at the loss, where the loss falls in the first third of the run alone."""
    live = schedules.start(spec)
    rates = []
    for step in range(spec.train.total_steps):
        rates.append(live.rate(step))
        if (step + 1) % round(spec.train.eval_epochs * spec.train.steps_per_epoch) == 0:
            live.observe(max(1 - step / spec.train.total_steps, 2 / 3))
    return np.array(rates)


def measured(sweeps: Path) -> dict[str, list[Measured]]:
    """Return how each scheduler came out of the committed sweeps."""
    found: dict[str, list[Measured]] = {}
    for path in sorted(sweeps.glob("*/results.jsonl")):
        rows = comparison.ranking(results.read_lines(path)).rows
        for place, row in enumerate(rows, 1):
            found.setdefault(row.scheduler, []).append(Measured(path.parent.name, row, place, len(rows)))
    return found


def main() -> None:
    """Write the catalogue of the schedulers in conf/scheduler, and its pictures, anew."""
    parser = argparse.ArgumentParser(prog="python -m lrbench.catalogue", description=main.__doc__)
    parser.parse_args()
    conf, sweeps = (Path(str(importlib.resources.files(f"lrbench.{package}"))) for package in ("conf", "sweeps"))
    with initialize_config_module("lrbench.conf", version_base="1.3"):
        write(conf / "scheduler", sweeps)
    print(f"written: {conf / 'scheduler' / 'README.md'}")


if __name__ == "__main__":
    main()
