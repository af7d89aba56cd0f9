"""Text for people: numbers, lists, and the console."""

import math
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console

Log = Callable[[str], None]  # takes a line of text for a person


def percent(fraction: float) -> str:
    """Return a fraction in percent with two decimals, empty for NaN.

    >>> percent(0.5), percent(float("nan"))
    ('50.00', '')
    """
    return "" if math.isnan(fraction) else f"{100 * fraction + 0:.2f}"  # + 0 turns -0.0 into 0.0


def duration(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours.

    >>> duration(4.2), duration(100), duration(9000)
    ('4.2 s', '1.7 min', '2.5 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def counted(number: float, thing: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    >>> counted(1, "epoch"), counted(0.5, "epoch"), counted(2, "search")
    ('1 epoch', '0.5 epochs', '2 searches')
    """
    plural = f"{thing}es" if thing.endswith("ch") and thing != "epoch" else f"{thing}s"
    return f"{number:g} {thing if number == 1 else plural}"


def counted_range(numbers: Sequence[int], thing: str) -> str:
    """Return the lowest and the highest of some numbers with their noun.

    >>> counted_range([3, 2], "trial"), counted_range([1, 1], "trial")
    ('2 to 3 trials', '1 trial')
    """
    low, high = min(numbers), max(numbers)
    return counted(high, thing) if low == high else f"{low} to {counted(high, thing)}"


def ranges(numbers: Sequence[int]) -> str:
    """Return sorted whole numbers as ranges.

    >>> ranges([1, 2, 3, 7])
    '1 to 3, 7'
    """
    starts = [number for number in numbers if number - 1 not in numbers]
    ends = [number for number in numbers if number + 1 not in numbers]
    return ", ".join(
        str(start) if start == end else f"{start} to {end}" for start, end in zip(starts, ends, strict=True)
    )


def listed(names: Iterable[str]) -> str:
    """Return names as an English list. There must be at least one.

    >>> listed(["a", "b", "c"]), listed(["a"])
    ('a, b and c', 'a')
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def rank_range(first: int, last: int) -> str:
    """Return a range of ranks.

    >>> rank_range(1, 1), rank_range(2, 4)
    ('1', '2-4')
    """
    return f"{first}" if first == last else f"{first}-{last}"


class _Console(Console):
    """A console that leaves a closed pipe to the exit codes of the commands."""

    def on_broken_pipe(self) -> None:
        """Raise the error. Rich itself would end the program with exit code 1."""
        raise BrokenPipeError


def plain_console() -> Console:
    """Return a console that prints lines as they are, without markup, highlights or breaks."""
    return _Console(soft_wrap=True, markup=False, highlight=False)
