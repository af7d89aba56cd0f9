"""The documentation of a scheduler, from the comments in its YAML file.

The file opens with a summary and labelled comments. A comment that is indented by two more spaces
continues the line before it. The comment next to an argument documents that argument. These are
comments and not a key of the file, because Hydra merges every key into the config of a run: a key
would be printed by `--cfg job`, copied into each sweep's config.yaml, and compared when a sweep
resumes.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import yaml

LABELS = ("Group", "Like", "LRBench", "Formula", "Recommended", "Use", "Avoid", "Trap")  # in this order
REQUIRED = {"Group", "Formula", "Recommended", "Use", "Avoid"}  # of a file that is not like another one
REPEATABLE = {"LRBench", "Trap"}
CONTINUATION = "#   "


class Argument(NamedTuple):
    """A knob or an argument: its config key, its value as written, and its meaning."""

    key: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Card:
    """The documentation of a scheduler: a summary, labelled lines, and its arguments."""

    summary: str
    labels: Mapping[str, Sequence[str]]
    arguments: Sequence[Argument]

    def first(self, label: str) -> str:
        """Return the only line of a label, an empty text without it."""
        return (self.labels.get(label) or [""])[0]


def parse_card(name: str, text: str) -> Card:
    """Return the documentation in the file of a scheduler.

    Raises ValueError if it breaks the schema.
    """
    summary, *lines = _head_lines(text)
    labels: dict[str, list[str]] = {}
    for line in filter(None, lines):
        label, colon, value = line.partition(": ")
        if not colon or label not in LABELS:
            raise ValueError(f"{name}.yaml: {line!r} must start with one of {', '.join(LABELS)} and a colon")
        labels.setdefault(label, []).append(value)
    _check(name, summary, labels)
    return Card(summary, labels, _arguments(text))


def _head_lines(text: str) -> list[str]:
    """Return the comments at the top of a file, with continued lines joined.

    >>> _head_lines("# A line (me).\\n#\\n# Group: decay\\n# Trap: one\\n#   more\\nname: line\\n")
    ['A line (me).', '', 'Group: decay', 'Trap: one more']
    """
    lines: list[str] = []
    for line in itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()):
        if line.startswith(CONTINUATION) and lines:
            lines[-1] += f" {line.removeprefix(CONTINUATION).strip()}"
        else:
            lines.append(line[2:])
    return lines


def _check(name: str, summary: str, labels: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError if labels are missing, repeated or out of order."""
    required = {"Group", "Like"} if "Like" in labels else REQUIRED
    repeated = [label for label, lines in labels.items() if len(lines) > 1 and label not in REPEATABLE]
    problems = {
        "the summary must end with a period": not summary.endswith("."),
        f"needs the labels {', '.join(sorted(required - labels.keys()))}": not required <= labels.keys(),
        f"must have one line of {', '.join(repeated)}": bool(repeated),
        f"must have its labels in the order {', '.join(LABELS)}": list(labels) != sorted(labels, key=LABELS.index),
    }
    for problem, is_there in problems.items():
        if is_there:
            raise ValueError(f"{name}.yaml: {problem}")


def _arguments(text: str) -> list[Argument]:
    """Return the knobs and arguments of a file, with the comments next to them.

    >>> _arguments("knobs: {}\\nargs:\\n  power: 1.0 # of the line\\n")
    [Argument(key='scheduler.args.power', default='1.0', meaning='of the line')]
    """
    arguments, section, node = [], "", yaml.safe_load(text)
    for line in text.splitlines():
        if key := re.match(r"(\w+):", line):
            section = key[1]
        elif section in ("knobs", "args") and (key := re.match(r"  (\w+):([^#]*)(?:# (.*))?$", line)):
            name, default, meaning = key[1], key[2].strip(), key[3] or ""
            if not default and isinstance(node[section][name], dict | list):
                default = "see below"
            arguments.append(Argument(f"scheduler.{section}.{name}", default, meaning))
    return arguments
