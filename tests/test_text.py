import math

import pytest

from lrbench.text import counted, duration, listed, percent, ranges


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.5, "50.00"), (0.98765, "98.77"), (-0.0, "0.00"), (1, "100.00"), (math.nan, "")]
)
def test_percent(fraction: float, text: str) -> None:
    assert percent(fraction) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (59.9, "59.9 s"), (60, "1.0 min"), (3599, "60.0 min"), (3600, "1.0 h"), (360_000, "100.0 h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 runs"), (1, "1 run"), (1.0, "1 run"), (2, "2 runs")])
def test_counted(number: float, text: str) -> None:
    assert counted(number, "run") == text


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([4], "4"), ([1, 3, 5], "1, 3, 5"), ([1, 2, 4, 5], "1 to 2, 4 to 5")]
)
def test_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text


@pytest.mark.parametrize(("names", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_listed(names: list[str], text: str) -> None:
    assert listed(names) == text
