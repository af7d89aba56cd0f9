"""Tables and curves as text for a terminal."""

import numpy as np
from rich.console import Console

from lrbench.analysis.ranking import Ranking
from lrbench.reporting.advice import advice, plain_lines
from lrbench.reporting.answer import answer
from lrbench.reporting.document import Table, interval_text
from lrbench.reporting.ranking_table import gap_and_verdict
from lrbench.text import percent, rank_range

BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.,-~=*#"
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille character, by row and column


def print_ranking(console: Console, ranking: Ranking) -> None:
    """Print the ranking, and the answer in words."""
    rows = [
        [
            rank_range(*row.ranks),
            row.scheduler,
            percent(row.mean.mean),
            interval_text(row.mean),
            *gap_and_verdict(row, ranking),
            f"{len(row.runs)}, {row.diverged} diverged" if row.diverged else f"{len(row.runs)}",
        ]
        for row in ranking.rows
    ]
    columns = ["rank", "scheduler", "mean", "95 % interval", "gap to the best", "verdict", "runs"]
    table = Table(columns, rows, left=(1, 5))
    print_table(console, table, "test accuracy of the final runs, %")
    console.print(answer(ranking))


def print_advice(console: Console, ranking: Ranking) -> None:
    """Print the recommended configuration, and what is known of it."""
    for line in plain_lines(advice(ranking)):
        console.print(line)


def print_table(console: Console, table: Table, title: str) -> None:
    """Print a table of a report. Lines that are too long for the terminal wrap."""
    console.print(title, style="bold")
    widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
    for row in (table.columns, *table.rows):
        cells = [
            cell.ljust(width) if place in table.left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        console.print("  ".join(cells).rstrip())


def draws_unicode(console: Console) -> bool:
    """Return True if the console's encoding has the characters of the plots."""
    try:
        f"{BLOCKS}{chr(0x2800)}".encode(console.encoding)
    except UnicodeEncodeError:
        return False
    return True


def sparkline(values: np.ndarray, width: int, blocks: str = BLOCKS) -> str:
    """Return the values as a line of at most `width` characters, scaled from zero to the highest.

    >>> sparkline(np.array([0.0, 0.25, 0.5, 1.0]), 20)
    '▁▃▅█'
    """
    sampled = values[np.linspace(0, len(values) - 1, min(width, len(values))).round().astype(int)]
    levels = sampled / (values.max() or 1.0) * (len(blocks) - 1)
    return "".join(blocks[int(level + 0.5)] for level in levels)


def braille_plot(values: np.ndarray, width: int, height: int, *, ascii_only: bool = False) -> list[str]:
    """Return a plot of the values as `height` lines of `width` braille characters, or of stars.

    It is scaled from zero to the highest value.

    >>> braille_plot(np.array([0.0, 1.0]), 2, 1)
    ['⣀⠏']
    """
    rows = 4 * height
    columns = values[np.arange(2 * width) * len(values) // (2 * width)]
    levels = np.rint(columns / (values.max() or 1.0) * (rows - 1)).astype(int)
    cells = np.zeros((height, width), dtype=int)
    before = levels[0]
    for column, level in enumerate(levels):
        low, high = sorted((level, before + np.sign(level - before)))  # a line to the level before, without a gap
        for dot in range(low, high + 1):
            row = rows - 1 - dot
            cells[row // 4, column // 2] |= DOTS[row % 4][column % 2]
        before = level
    if ascii_only:
        return ["".join("*" if cell else " " for cell in line) for line in cells]
    return ["".join(chr(0x2800 + cell) for cell in line) for line in cells]
