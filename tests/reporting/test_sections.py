"""The sentences and tables of a report."""

from pathlib import Path

import pytest

from lrbench.analysis.folder import rank_folder
from lrbench.analysis.ranking import rank_schedulers
from lrbench.reporting import report
from lrbench.reporting.answer import answer
from lrbench.reporting.figures import COLORS
from lrbench.reporting.ranking_table import ranking_blocks, ranking_table
from lrbench.results.provenance import commit
from lrbench.results.result import LossSpikes
from tests.builders import Run, curve_of, eight, sweep_folder, sweep_of
from tests.conftest import ROOT

ONE_SEARCH = "There was one search for each scheduler, so this compares the chosen configurations, not the schedulers."


def test_the_answer_tells_apart_what_is_worse_equal_and_undecided(run: Run) -> None:
    accuracies = {"rex": eight(0.93), "sine": eight(0.9295, 0.001), "cosine": eight(0.92, 0.02), "step": eight(0.9)}
    assert answer(rank_schedulers(sweep_of(run, accuracies))) == (
        "rex has the highest mean test accuracy, 93.00 %. rex is significantly better than step. sine is equal to rex "
        f"within 0.30 points. Undecided, with the mean gap to rex in points: cosine (1.00). {ONE_SEARCH}"
    )


def test_the_answer_without_a_difference(run: Run) -> None:
    results = sweep_of(run, {"rex": eight(0.9), "cosine": eight(0.9), "constant": eight(0.9)})
    assert "cosine and constant are equal to rex within 0.30 points." in answer(rank_schedulers(results))


def test_the_answer_if_all_others_are_worse(run: Run) -> None:
    results = sweep_of(run, {"rex": eight(0.93), "cosine": eight(0.92, 0.001), "constant": eight(0.91, 0.001)})
    expected = "rex has the highest mean test accuracy, 93.00 %. rex is significantly better than "
    assert answer(rank_schedulers(results)) == f"{expected}every other scheduler. {ONE_SEARCH}"
    two = [result for result in results if result.spec.scheduler.name != "cosine"]
    assert answer(rank_schedulers(two)) == f"{expected}constant. {ONE_SEARCH}"


def test_a_large_gap_with_a_large_scatter_is_undecided_and_never_equal(run: Run) -> None:
    """The H200 sweep at a hot start: one bad seed makes the interval of exponential wide."""
    ranking = rank_folder(ROOT / "sweeps" / "hot_start")
    rows = {row.scheduler: row for row in ranking.rows}
    assert rows["exponential"].relation == "undecided"
    assert "exponential (11.73)" in answer(ranking)
    assert COLORS[rows["exponential"].relation] not in (COLORS["equal"], COLORS["best"], COLORS["worse"])
    cells = next(cells for cells in ranking_table(ranking, {}).rows if cells[1] == "exponential")
    assert cells[4:6] == ["11.73", "undecided"]
    seeds = [0.578, 0.879, 0.86, 0.85, 0.84, 0.841]
    small = rank_schedulers(sweep_of(run, {"one_cycle": eight(0.9245)[:6], "exponential": seeds}))
    best, other = small.rows
    assert (best.relation, other.relation) == ("best", "undecided")
    assert [row.mean.mean for row in small.rows] == pytest.approx([0.925, 0.808])
    assert "better than" not in answer(small)
    assert answer(small).endswith(
        f"Undecided, with the mean gap to one_cycle in points: exponential (11.70). {ONE_SEARCH}"
    )


def test_the_best_epoch_has_a_separate_column(run: Run) -> None:
    results = sweep_of(run, {"cosine": []})
    results += [run(seed=1000, test=[0.5, 0.9, 0.8]), run(seed=1001, test=[0.5, 0.7, 0.6])]
    table = ranking_table(rank_schedulers(results), {})
    assert (table.columns[-1], table.rows[0][-1]) == ("best epoch's test accuracy, %", "80.00")
    columns = ranking_table(rank_schedulers(sweep_of(run, {"cosine": [0.8]})), {}).columns
    assert "best epoch" not in " ".join(columns)


def test_unstable_runs_have_a_column(run: Run) -> None:
    results = sweep_of(run, {"cosine": [0.8, 0.8], "rex": [0.7, 0.7]})
    stable = ranking_table(rank_schedulers(results), {})
    assert "unstable runs" not in stable.columns
    spikes = [LossSpikes(steps=2, first_step=1, largest=loss) for loss in (None, 451.7)]
    rex = [result for result in results if result.spec.scheduler.name == "rex" and result.spec.phase == "final"]
    unstable = [result.model_copy(update={"loss_spikes": two}) for result, two in zip(rex, spikes, strict=True)]
    ranking = rank_schedulers([result for result in results if result not in rex] + unstable)
    table = ranking_table(ranking, {})
    assert [row[table.columns.index("unstable runs")] for row in table.rows] == ["", "2 of 2, loss up to 452"]
    assert "In an unstable run" in "".join(str(block) for block in ranking_blocks(ranking, {}))


def test_extra_test_accuracies_have_columns(run: Run) -> None:
    results = sweep_of(run, {"cosine": [0.8, 0.8], "rex": [0.7, 0.7]})
    extra = []
    for result in results:
        if result.spec.phase == "final" and result.spec.scheduler.name == "cosine":
            train = result.spec.train.model_copy(update={"test_views": 6, "average": "ema"})
            curves = {
                **result.curves,
                "test/views_accuracy": curve_of([0.85]),
                "test/average_accuracy": curve_of([0.9]),
            }
            spec = result.spec.model_copy(update={"train": train})
            result = result.model_copy(update={"curves": curves, "spec": spec})
        extra.append(result)
    ranking = rank_schedulers(extra)
    table = ranking_table(ranking, {})
    assert table.columns[-2:] == ["6 views, %", "EMA, %"]
    assert [row[-2:] for row in table.rows] == [["85.00", "90.00"], ["", ""]]
    assert ranking.rows[0].mean.mean == pytest.approx(0.8)


def test_a_whole_report(report_folder: Path) -> None:
    text = (report_folder / "report.md").read_text()
    for part in (
        "# tiny: which learning-rate scheduler?",
        "**cosine has the highest mean test accuracy, 80.00 %.",
        "| rank | scheduler | test accuracy, % | 95 % interval | gap to the best | verdict | final runs | diverged |",
        "| 2-3 | rex | 78.00 |",
        "Rank 1-2 means: no scheduler is significantly better, 1 scheduler is significantly worse, and the rest are",
        "Undecided, with the mean gap to cosine in points: constant (12.23, 1 diverged)",
        "**Use `cosine`**, with `optimizer.lr=0.4086` `scheduler.knobs.floor=0.165`.",
        "- This configuration: 80.00 % test accuracy (8 final runs, 95 % interval 79.83 to 80.17 over seeds).",
        "Diverged runs count with chance accuracy",
        "| scheduler | gap to cosine | corrected interval | p | seeds | verdict |",
        "The correction covers all 3 pairs of schedulers, because the best scheduler is known only after looking",
        "sampler tpe (n_startup_trials=5), seed 0; no pruner.",
        "12 trials for each scheduler",
        "All schedulers used the final seeds 1000 to 1007",
        "python -m lrbench.sweep name=tiny 'schedulers=[cosine,rex]'",
        "The runs were made on abacus (cpu, 1 thread per run), torch 2.15, Python 3.11, wood.",
        "Date: 2027-01-15.",
        "python -m lrbench.report --verify FOLDER cosine:1000",
        "how many final runs reached 77.00 % validation accuracy",
        "Mean ranks over the seeds, 1 is the best. Friedman's test of equal ranks: p < 0.001",
        "not the noise of the search",
        "'schedulers=[cosine,constant]' searches=1 startup_trials=1 confirm=0 n_trials=12 final_default=false ",
    ):
        assert part in text, part
    assert commit(Path(__file__).parent) in text


def test_the_gain_from_tuning_on_test_images(run: Run, tmp_path: Path) -> None:
    results = sweep_of(run, {"rex": eight(0.93), "cosine": eight(0.9), "constant": eight(0.91, 0.001)})
    results += [run("rex", trial=0, seed=1000 + place, test=value) for place, value in enumerate(eight(0.92, 0.001))]
    folder = sweep_folder(tmp_path, results)
    report.write_report(folder)
    text = (folder / "report.md").read_text()
    assert "| scheduler | default, test % | tuned, test % | gain | corrected interval | p | seeds | verdict |" in text
    assert "| rex | 92.00 | 93.00 | 1.00 | 0.91 to 1.09 | < 0.001 | 8 | better |" in text
    assert "The correction covers 1 comparison." in text
    assert (
        "The correction covers the 2 comparisons with the baseline constant. This correction is valid only if" in text
    )


@pytest.mark.parametrize("seeds", [1, 5])
def test_fewer_than_six_pairs_claim_nothing(run: Run, tmp_path: Path, seeds: int) -> None:
    results = sweep_of(run, {"cosine": eight(0.9)[:seeds], "constant": eight(0.5)[:seeds], "rex": eight(0.4)[:seeds]})
    folder = sweep_folder(tmp_path, results)
    report.write_report(folder)
    for file in ("report.md", "report.html"):
        text = (folder / file).read_text()
        assert "cannot show a difference: at least 6 are needed. All comparisons with cosine are undecided." in text
        assert "1-3" in text
    text = (folder / "report.md").read_text()
    assert "So there are no intervals and no tests." in text
    assert "| scheduler | gap to cosine | gain over constant | seeds |" in text


def test_one_scheduler_alone(run: Run, tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path, sweep_of(run, {"cosine": eight(0.9)}))
    report.write_report(folder)
    text = (folder / "report.md").read_text()
    assert "**There is only one scheduler, cosine. Its mean test accuracy is 90.00 %.**" in text
    assert "Only one scheduler is ranked, so there are no differences." in text
    assert "All schedulers used the final seeds 1000 to 1007" in text


def test_the_cost_of_a_search_with_pruned_runs(run: Run, tmp_path: Path) -> None:
    results = sweep_of(run, {"cosine": eight(0.9)})
    results += [run("cosine", "search", trial, 0, validation=[0.3], state="pruned") for trial in (2, 3)]
    folder = sweep_folder(tmp_path, results)
    report.write_report(folder)
    text = (folder / "report.md").read_text()
    assert "| scheduler | trials | runs | diverged | pruned | epochs | time |" in text
    assert "| cosine | 4 | 4 | 0 | 2 |" in text


def test_a_scheduler_without_its_final_runs_is_named(run: Run, tmp_path: Path) -> None:
    results = [*sweep_of(run, {"cosine": eight(0.9)}), run("rex", "search", 0, 0, validation=[0.5])]
    folder = sweep_folder(tmp_path, results)
    report.write_report(folder)
    assert "the final runs of the chosen configuration are missing: rex." in (folder / "report.md").read_text()
