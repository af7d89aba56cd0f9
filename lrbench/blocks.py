"""What a report is made of, and how its numbers are written."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lrbench.stats import Interval


@dataclass(frozen=True)
class Text:
    """A paragraph; `code` and **strong** words are marked as in Markdown."""

    text: str
    kind: ClassVar = "text"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences, marked as in Markdown."""

    items: Sequence[str]
    kind: ClassVar = "bullets"


@dataclass(frozen=True)
class Table:
    """A table: its columns' names, rows of as many cells, and their sum; the columns at the places `left` hold text, the others numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[int] = (0,)
    total: Sequence[str] = ()
    kind: ClassVar = "table"


@dataclass(frozen=True)
class Picture:
    """A picture in the folder pictures/, and what it shows."""

    file: str
    caption: str
    kind: ClassVar = "picture"


@dataclass(frozen=True)
class Commands:
    """Command lines, to be copied."""

    lines: Sequence[str]
    kind: ClassVar = "commands"


Block = Text | Bullets | Table | Picture | Commands


@dataclass(frozen=True)
class Section:
    """A heading, and what stands under it."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def percent(fraction: float) -> str:
    """Return a fraction in percent, with two digits; nothing for nan."""
    return "" if math.isnan(fraction) else f"{100 * fraction + 0:.2f}"


def between(interval: Interval) -> str:
    """Return the ends of an interval in percent; nothing where there are none."""
    return "" if math.isnan(interval.low) else f"{percent(interval.low)} to {percent(interval.high)}"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    >>> duration(4.2), duration(100), duration(9000)
    ('4.2 s', '1.7 min', '2.5 h')
    """
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def counted(number: float, thing: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "epoch"), counted(0.5, "epoch")
    ('1 epoch', '0.5 epochs')
    """
    return f"{number:g} {thing}{'' if number == 1 else 's'}"


def ranges(numbers: Sequence[int]) -> str:
    """Return sorted numbers as ranges.

    >>> ranges([1, 2, 3, 7])
    '1 to 3, 7'
    """
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return ", ".join(f"{start}" if start == end else f"{start} to {end}" for start, end in zip(starts, ends, strict=True))


def listed(names: Iterable[str]) -> str:
    """Return names as a list in words.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
