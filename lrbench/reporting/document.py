"""The parts of a report: sections with paragraphs, lists, tables, pictures and commands."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lrbench.analysis.statistics import Interval
from lrbench.text import percent


@dataclass(frozen=True)
class Text:
    """A paragraph. It may have `code` and **strong** words, marked as in Markdown."""

    text: str
    kind: ClassVar = "text"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences, with the marks of a paragraph."""

    items: Sequence[str]
    kind: ClassVar = "bullets"


@dataclass(frozen=True)
class Table:
    """A table. Columns at the places `left` hold text, and the others numbers.

    `total` is a last row, empty if the table has no such row.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[int] = (0,)
    total: Sequence[str] = ()
    kind: ClassVar = "table"


@dataclass(frozen=True)
class Picture:
    """A picture in the folder pictures/ with its caption."""

    file: str
    caption: str
    kind: ClassVar = "picture"


@dataclass(frozen=True)
class Commands:
    """Command lines to copy."""

    lines: Sequence[str]
    language: ClassVar = "sh"
    kind: ClassVar = "commands"


@dataclass(frozen=True)
class Code:
    """Lines of Python to copy."""

    lines: Sequence[str]
    language: ClassVar = "python"
    kind: ClassVar = "commands"


Block = Text | Bullets | Table | Picture | Commands | Code


@dataclass(frozen=True)
class Section:
    """A heading and its blocks."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def interval_text(interval: Interval) -> str:
    """Return the ends of an interval in percent, or an empty text if they are NaN."""
    return "" if math.isnan(interval.low) else f"{percent(interval.low)} to {percent(interval.high)}"


def p_text(p: float) -> str:
    """Return a p-value as it follows the letter p.

    >>> p_text(0.0004), p_text(0.25)
    ('< 0.001', '= 0.250')
    """
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
