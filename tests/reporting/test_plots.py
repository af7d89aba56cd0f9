"""The matplotlib figures."""

import math
from pathlib import Path

import pytest

from lrbench.reporting import plots
from lrbench.results.result import Curve
from tests.builders import curve_of


@pytest.mark.parametrize(("names", "axes"), [(10, 1), (11, 11)])
def test_many_schedulers_get_small_axes(names: int, axes: int) -> None:
    curve = curve_of([0.5, 0.6])
    figure = plots.metric_curves({f"{number}": [curve, curve] for number in range(names)}, "")
    assert len(figure.axes) == axes


@pytest.mark.parametrize(("names", "rows"), [(1, 1), (5, 1), (6, 2), (11, 3)])
def test_small_axes_have_up_to_five_columns(names: int, rows: int) -> None:
    figure = plots.lr_curves({f"{number}": curve_of([0.1, 0.2]) for number in range(names)})
    assert figure.axes[0].get_gridspec().nrows == rows  # type: ignore[union-attr]  # every axis has one


def test_the_width_of_a_picture_is_read_from_its_file(tmp_path: Path) -> None:
    plots.save_figure(plots.lr_curves({"cosine": curve_of([0.1, 0.2])}), tmp_path / "lr.png")
    inches = plots.lr_curves({"cosine": curve_of([0.1, 0.2])}).get_size_inches()[0]
    assert plots.display_width(tmp_path / "lr.png") == pytest.approx(inches * plots.DISPLAY_DPI, abs=1)


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    curve = Curve(steps=[0, 1], values=[math.pi, math.e], times=[0, 0])
    for name in ("one", "two"):
        plots.save_both(plots.lr_overlay({"cosine": curve}), tmp_path / name)
    for ending in ("png", "svg"):
        assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
