"""The runs of a sweep as a table: results.csv."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from lrbench.reporting.csv_table import COLUMNS


def test_results_csv_read_back(report_folder: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((report_folder / "results.csv").read_text())))
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == 3 * (12 + 8)
    final = [row for row in rows if (row["scheduler"], row["phase"]) == ("rex", "final")]
    assert sorted(row["seed"] for row in final) == [f"{seed}" for seed in range(1000, 1008)]
    assert np.mean([float(row["test_accuracy"]) for row in final]) == pytest.approx(0.78)
    assert {(row["trial"], row["best_test_accuracy"], row["epochs"], row["steps"]) for row in final} == {
        ("7", "", "4.0", "80")
    }
    (diverged,) = [row for row in rows if row["state"] == "diverged"]
    assert (diverged["scheduler"], diverged["test_accuracy"]) == ("constant", "0.1")
    searched = next(row for row in rows if row["phase"] == "search" and row["trial"] == "7")
    assert (searched["test_accuracy"], searched["device"]) == ("", "abacus")
    assert searched["sampled"].startswith('{"optimizer.lr": 0.4')
