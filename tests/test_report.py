"""What a report says, from results made up so that every number can be checked by hand."""

import base64
import csv
import io
import math
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from lrbench import comparison, config, device, loop, pictures, provenance, repeats, report, results, sections, side_by_side, verify
from lrbench.results import Curve, TrialResult
from lrbench.spec import ConfigError, TrialSpec
from tests.conftest import SMALL

Spec = Callable[..., TrialSpec]
Run = Callable[..., TrialResult]

pytestmark = pytest.mark.xdist_group("report")


@pytest.fixture(scope="module")
def run() -> Run:
    """Returns a run with the given accuracies: of the validation at each evaluation, and of the test where it is a final one."""
    plain = config.parse(config.load("config", [*SMALL, "scheduler=cosine", "train.epochs=4"]))

    def made(
        name: str = "cosine",
        phase: str = "final",
        trial: int = 1,
        seed: int = 1000,
        *,
        validation: Sequence[float] = (),
        test: float | Sequence[float] = (),
        state: str = "finished",
        lr: float = 0.5,
        floor: float = 0.0,
    ) -> TrialResult:
        tests = [test] if isinstance(test, float) else list(test)
        spec = plain.model_copy(
            update={
                "scheduler": plain.scheduler.model_copy(update={"name": name}),
                "optimizer": plain.optimizer.model_copy(update={"lr": lr}),
                "phase": phase,
                "trial": trial,
                "seed": seed,
                "sampled": {"optimizer.lr": lr, "scheduler.knobs.floor": floor},
            }
        )
        curves = {"lr": [lr] * 80, "train/loss": [2.0, 1.0], "val/accuracy": list(validation), "test/accuracy": tests}
        return TrialResult(
            spec=spec,
            state=state,  # type: ignore[arg-type]  # a text
            reason="",
            curves={key: _curve(values) for key, values in curves.items() if values},
            train_seconds=8.0,
            eval_seconds=1.0,
            environment={"device": "abacus", "torch": "2.15", "python": "3.11", "platform": "wood"},
        )

    return made


def _curve(values: Sequence[float]) -> Curve:
    """A curve over 80 steps, four epochs of 20."""
    steps = list(range(80)) if len(values) == 80 else [round(80 * (place + 1) / len(values)) for place in range(len(values))]
    return Curve(steps=steps, values=list(values), times=[1_800_000_000_000] * len(values))


def _sweep(run: Run, accuracies: Mapping[str, Sequence[float]]) -> list[TrialResult]:
    """A search of two trials for each scheduler, the second of which is chosen, and final runs with these test accuracies."""
    found = []
    for name, values in accuracies.items():
        found += [run(name, "search", trial, 0, validation=[0.5 + 0.1 * trial]) for trial in (0, 1)]
        found += [run(name, seed=1000 + place, test=value) for place, value in enumerate(values)]
    return found


SEEDS = (0.001, -0.002, 0.0, 0.003, -0.001, 0.002, -0.003, 0.0)  # what eight seeds add, to every scheduler alike


def _eight(mean: float, wobble: float = 0.0) -> list[float]:
    return [mean + shift + wobble * (-1) ** place for place, shift in enumerate(SEEDS)]


# The numbers


def test_ranking_by_hand(run: Run) -> None:
    ranking = comparison.ranking(_sweep(run, {"constant": [0.6, 0.7, 0.8], "cosine": [0.7, 0.8, 0.9]}))
    cosine, constant = ranking.rows
    assert (cosine.scheduler, constant.scheduler) == ("cosine", "constant")
    assert cosine.mean == pytest.approx((0.8, 0.8 - 0.2484, 0.8 + 0.2484), abs=1e-4)  # 4.3027 * 0.1 / sqrt(3)
    assert constant.behind.difference == pytest.approx((0.1, 0.1, 0.1))
    assert cosine.over_baseline is not None
    assert cosine.over_baseline.difference.mean == pytest.approx(0.1)
    assert constant.over_baseline is None
    assert (ranking.baseline, ranking.pairs, ranking.claimable, ranking.ranked) == ("constant", 3, False, None)


def test_differences_are_taken_between_the_same_seeds(run: Run) -> None:
    found = _sweep(run, {"cosine": [0.9, 0.5], "rex": [0.8, 0.4]})
    ranking = comparison.ranking([result for result in found if (result.spec.scheduler.name, result.spec.seed) != ("rex", 1001)])
    rex, cosine = ranking.rows
    assert (rex.scheduler, cosine.scheduler) == ("rex", "cosine")  # the mean of one seed is the higher one
    assert cosine.behind.pairs == 1
    assert cosine.behind.difference.mean == pytest.approx(-0.1)


def test_a_tie_is_a_tie_and_a_difference_is_one(run: Run) -> None:
    found = _sweep(run, {"rex": _eight(0.93), "cosine": _eight(0.9295, 0.002), "constant": _eight(0.91, 0.001)})
    ranking = comparison.ranking(found)
    assert [(row.scheduler, row.ranks, row.tied) for row in ranking.rows] == [
        ("rex", (1, 2), True),
        ("cosine", (1, 2), True),
        ("constant", (3, 3), False),
    ]
    rex, tie, better = "rex has the highest mean test accuracy, 93.00 %", "ties with cosine: 8 runs each", "is better than constant"
    assert sections.answer(ranking) == f"{rex}. It {tie} cannot tell them apart. It {better}."


def test_all_alike(run: Run) -> None:
    ranking = comparison.ranking(_sweep(run, {"rex": _eight(0.9), "cosine": _eight(0.9), "constant": _eight(0.9)}))
    assert {row.ranks for row in ranking.rows} == {(1, 3)}
    assert "but that is a tie with cosine and constant" in sections.answer(ranking)


def test_a_diverged_run_counts_with_chance_accuracy(run: Run) -> None:
    found = _sweep(run, {"cosine": [0.7, 0.7, 0.7], "rex": [0.9, 0.9]})
    found.append(run("rex", seed=1002, state="diverged"))
    cosine, rex = comparison.ranking(found).rows
    assert (rex.scheduler, rex.diverged, cosine.diverged) == ("rex", 1, 0)
    assert rex.mean.mean == pytest.approx((0.9 + 0.9 + 0.1) / 3)


def test_the_chosen_trial_has_the_highest_mean_over_its_runs_and_was_not_pruned(run: Run) -> None:
    search = [
        run(phase="search", trial=trial, seed=seed, validation=[0.1, accuracy], state=state)
        for trial, seed, accuracy, state in [
            (0, 0, 0.5, "finished"), (0, 1, 0.7, "finished"),  # 0.6
            (1, 0, 0.9, "finished"), (1, 1, 0.9, "pruned"),
            (2, 0, 0.9, "diverged"), (2, 1, 0.9, "finished"),  # 0.1 and 0.9: 0.5
            (3, 0, 0.7, "finished"), (3, 1, 0.5, "finished"),  # 0.6 again
        ]
    ]  # fmt: skip
    assert results.trial_scores(search) == pytest.approx({0: 0.6, 2: 0.5, 3: 0.6})
    assert results.chosen_trial(search) == 0
    assert results.chosen_trial([]) is None


def test_final_runs_of_the_default_stand_beside_the_tuned_ones_and_not_in_the_ranking(run: Run) -> None:
    found = _sweep(run, {"cosine": [0.8, 0.9, 0.7], "constant": [0.5, 0.5, 0.5]})
    found += [run(trial=0, seed=1000 + place, test=value) for place, value in enumerate([0.75, 0.8, 0.7])]
    cosine, constant = comparison.ranking(found).rows
    assert (cosine.trial, len(cosine.runs)) == (1, 3)
    assert (cosine.tuning.default_validation, cosine.tuning.chosen_validation) == (0.5, 0.6)
    assert cosine.tuning.test is not None
    assert cosine.tuning.test.mean == pytest.approx(0.75)
    assert cosine.tuning.gain is not None
    assert cosine.tuning.gain.difference.mean == pytest.approx(0.05)  # 0.05, 0.1 and 0
    assert constant.tuning.test is None


def test_final_runs_of_a_trial_that_is_no_longer_the_best_are_left_out(run: Run) -> None:
    found = _sweep(run, {"cosine": [0.8, 0.9], "rex": [0.8, 0.9]})
    found.append(run("rex", "search", 2, 0, validation=[0.9]))
    ranking = comparison.ranking(found)
    assert [row.scheduler for row in ranking.rows] == ["cosine"]
    assert ranking.unranked == ["rex"]


def test_time_to_a_target_by_hand(run: Run) -> None:
    search = [run(phase="search", trial=1, seed=0, validation=[0.6])]
    final = [
        run(seed=1000, validation=[0.5, 0.62, 0.6, 0.7], test=0.7),  # has 0.61 after two of four epochs
        run(seed=1001, validation=[0.5, 0.6, 0.6, 0.61], test=0.7),  # after four
        run(seed=1002, validation=[0.5, 0.5, 0.5, 0.52], test=0.7),  # never
    ]
    ranking = comparison.ranking([*search, *final])
    assert ranking.target == 0.61  # below the mean of 0.7, 0.61 and 0.52, which is 0.61 exactly
    assert ranking.rows[0].reached == comparison.Reached(2, 3, 4.0, 8.0)  # the median: 8 seconds for 80 steps
    assert comparison.ranking([*search, *final], target=0.5).rows[0].reached == comparison.Reached(3, 3, 1.0, 2.0)
    assert comparison.ranking([*search, *final], target=0.62).rows[0].reached == comparison.Reached(1, 3, math.inf, math.inf)


def test_without_held_out_images_there_is_no_target(run: Run) -> None:
    ranking = comparison.ranking(_sweep(run, {"cosine": [0.8, 0.9]}))
    assert ranking.target is None
    assert ranking.rows[0].reached is None


def test_the_cost_of_the_search(run: Run) -> None:
    found = _sweep(run, {"cosine": [0.8, 0.9]})
    found.append(run("cosine", "search", 2, 0, validation=[0.3], state="pruned"))
    found.append(run("cosine", "search", 3, 0, state="diverged"))
    search = comparison.ranking(found).rows[0].search
    assert (search.trials, search.runs, search.diverged, search.pruned, search.epochs, search.seconds) == (4, 4, 1, 1, 16, 36)
    assert [trial.number for trial in search.tried] == [0, 1, 3]


def test_best_epoch_is_a_column_of_its_own(run: Run) -> None:
    found = _sweep(run, {"cosine": []})
    found += [run(seed=1000, test=[0.5, 0.9, 0.8]), run(seed=1001, test=[0.5, 0.7, 0.6])]
    ranking = comparison.ranking(found)
    assert ranking.rows[0].mean.mean == pytest.approx(0.7)
    assert ranking.rows[0].best_epoch is not None
    assert ranking.rows[0].best_epoch.mean == pytest.approx(0.8)
    table = sections.ranking_table(ranking)
    assert (table.columns[-1], table.rows[0][-1]) == ("best epoch's test accuracy, %", "80.00")
    assert "best epoch" not in " ".join(sections.ranking_table(comparison.ranking(_sweep(run, {"cosine": [0.8]}))).columns)


def test_best_epoch_is_known_from_committed_results_too(run: Run, tmp_path: Path) -> None:
    results.write_lines(tmp_path / "results.jsonl", [run(validation=[0.4, 0.5, 0.6], test=[0.5, 0.9, 0.8])])
    (read,) = results.read_lines(tmp_path / "results.jsonl")
    assert (comparison.best_test_accuracy(read), read.last("test/accuracy"), read.curves["val/accuracy"].values) == (0.9, 0.8, [0.6])


def test_an_unknown_baseline_is_refused(run: Run) -> None:
    with pytest.raises(ConfigError, match="--baseline cosin"):
        comparison.ranking(_sweep(run, {"cosine": [0.8]}), baseline="cosin")


# The files


@pytest.fixture(scope="module")
def folder(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep's folder with its report: three schedulers, twelve trials each, eight final runs, one of which diverged."""
    found = []
    for number, name in enumerate(("cosine", "rex", "constant")):
        for trial in range(12):
            lr, floor = 0.05 * 1.35**trial, 0.015 * (trial * 5 % 12)
            accuracy = 0.6 - 0.02 * abs(trial - 7) - 0.1 * floor
            found.append(run(name, "search", trial, 0, validation=[accuracy - 0.2, accuracy], lr=lr, floor=floor))
        found += [
            run(name, trial=7, seed=1000 + place, validation=[0.5, value - 0.01], test=value, lr=0.05 * 1.35**7, floor=0.015 * 11)
            for place, value in enumerate(_eight(0.8 - 0.02 * number, 0.001 * number))
        ]
    last = found.pop()
    found.append(last.model_copy(update={"state": "diverged"}))
    return _folder(tmp_path_factory.mktemp("report"), found)


def _folder(out: Path, found: Iterable[TrialResult], **settings: object) -> Path:
    """A sweep's folder with these results, and a config.yaml with these settings."""
    scheduler = {"_target_": "there", "knobs": {"floor": 0.0}, "args": {}, "search": {"knobs": {"floor": {"low": 0.0, "high": 0.2}}}}
    config_file = {
        "name": "tiny",
        "seed": 0,
        "sampler": {"name": "tpe", "args": {"n_startup_trials": 5}},
        "optimizer": {"_target_": "here", "lr": 0.5, "search": {"lr": {"low": 0.05, "high": 2.0, "log": True}}},
        "scheduler": {result.spec.scheduler.name: scheduler for result in found},
        **settings,
    }
    folder = out / "tiny"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config_file))
    for result in found:
        results.write(folder / "trials", result)
    return folder


@pytest.fixture(scope="module")
def written(folder: Path) -> Path:
    provenance.record_start(folder, "/somewhere/.venv/bin/python -m lrbench.sweep name=tiny 'schedulers=[cosine,rex]'")
    report.write(folder)
    return folder


def test_report_says_what_was_found_and_how(written: Path) -> None:
    text = (written / "report.md").read_text()
    for part in (
        "# tiny: which learning-rate scheduler?",
        "**cosine has the highest mean test accuracy, 80.00 %.",
        "| rank | scheduler | test accuracy, % | 95 % interval | behind the best | runs | diverged |",
        "| 2-3 | rex | 78.00 |",
        "It ties with constant (1 diverged): 8 runs each",
        "Runs that diverged count with chance accuracy",
        "Corrected for all 3 pairs of schedulers",
        "sampler tpe (n_startup_trials=5), seed 0; no pruner.",
        "12 trials for each scheduler",
        "Final seeds 1000 to 1007",
        "python -m lrbench.sweep name=tiny 'schedulers=[cosine,rex]'",
        "Made on abacus (cpu, 1 thread a run), torch 2.15, Python 3.11, wood.",
        "Date: 2027-01-15.",
        "python -m lrbench.report --verify FOLDER cosine:1000",
        "Time to 77.00 % validation accuracy",
        "Mean ranks over the seeds, 1 the best. Friedman's test that all are alike has p < 0.001",
        "not that of the search",
    ):
        assert part in text, part
    assert provenance.commit(Path(report.__file__).parent) in text


def test_every_picture_is_there(written: Path) -> None:
    shown = re.findall(r"^!\[.+\]\(pictures/(.+)\)$", (written / "report.md").read_text(), flags=re.MULTILINE)
    assert shown == [f"{name}.png" for name in ("final", "ranks", "lr", "accuracy", "loss", "peak", "slices", "history", "importances")]
    for file in shown:
        assert (written / "pictures" / file).read_bytes().startswith(b"\x89PNG"), file


class _Page(HTMLParser):
    """Reads a page, and sees that every tag that is opened is closed in turn."""

    EMPTY = ("meta", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for key, value in attributes if key in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_is_one_well_formed_page_that_needs_nothing_else(written: Path) -> None:
    text = (written / "report.html").read_text()
    page = _Page(text)
    assert page.open == []
    pictures = [link for link in page.links if link.startswith("data:image/png;base64,")]
    assert {link for link in page.links if link not in pictures} == {f"#{number}" for number in range(1, 8)}
    assert base64.b64decode(pictures[0].partition(",")[2]) == (written / "pictures" / "final.png").read_bytes()
    assert len(pictures) == 9
    assert "url(" not in text
    assert "://" not in text.replace("data:image", "")


def test_html_says_what_the_markdown_says(written: Path) -> None:
    page, text = _Page((written / "report.html").read_text()).text, (written / "report.md").read_text()
    for line in text.splitlines():
        if line.startswith("- "):
            assert line.removeprefix("- ").replace("`", "").replace("**", "") in page
        elif line.startswith("| ") and "`" not in line:
            assert all(cell.strip() in page for cell in line.split("|"))


def test_twice_the_same_bytes(written: Path, tmp_path: Path) -> None:
    again = tmp_path / "elsewhere"
    shutil.copytree(written, again)
    report.write(again)
    files = [path.relative_to(written) for path in written.rglob("*") if path.is_file()]
    assert len(files) > 14
    for file in files:
        assert (again / file).read_bytes() == (written / file).read_bytes(), file


def test_results_csv_read_back(written: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((written / "results.csv").read_text())))
    assert list(rows[0]) == list(report.COLUMNS)
    assert len(rows) == 3 * (12 + 8)
    final = [row for row in rows if (row["scheduler"], row["phase"]) == ("rex", "final")]
    assert sorted(row["seed"] for row in final) == [f"{seed}" for seed in range(1000, 1008)]
    assert np.mean([float(row["test_accuracy"]) for row in final]) == pytest.approx(0.78)
    assert {(row["trial"], row["best_test_accuracy"], row["epochs"], row["steps"]) for row in final} == {("7", "", "4.0", "80")}
    (diverged,) = [row for row in rows if row["state"] == "diverged"]
    assert (diverged["scheduler"], diverged["test_accuracy"]) == ("constant", "0.1")
    searched = next(row for row in rows if row["phase"] == "search" and row["trial"] == "7")
    assert (searched["test_accuracy"], searched["device"]) == ("", "abacus")
    assert searched["sampled"].startswith('{"optimizer.lr": 0.4')


def test_committed_results_are_read_and_left_alone(written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in ("results.jsonl", "config.yaml"):
        shutil.copy(written / file, tmp_path)
    found = report.load(tmp_path)
    report.show(Console(soft_wrap=True), comparison.ranking(found))
    assert "cosine has the highest mean test accuracy, 80.00 %" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"results.jsonl", "config.yaml"}
    with pytest.raises(ConfigError, match="not the folder of a sweep"):
        report.load(tmp_path / "nothing")


@pytest.mark.parametrize("seeds", [1, 5])
def test_fewer_than_six_pairs_claim_nothing_anywhere(run: Run, tmp_path: Path, seeds: int, capsys: pytest.CaptureFixture[str]) -> None:
    found = _sweep(run, {"cosine": _eight(0.9)[:seeds], "constant": _eight(0.5)[:seeds], "rex": _eight(0.4)[:seeds]})
    folder = _folder(tmp_path, found)
    report.show(Console(soft_wrap=True), report.write(folder))
    for text in (capsys.readouterr().out, (folder / "report.md").read_text(), (folder / "report.html").read_text()):
        assert "nothing can be claimed, and all are ties here" in text
        assert "1-3" in text
    assert "No critical-difference diagram" in (folder / "report.md").read_text()
    assert "No importances" in (folder / "report.md").read_text()


def test_one_scheduler_alone(run: Run, tmp_path: Path) -> None:
    folder = _folder(tmp_path, _sweep(run, {"cosine": _eight(0.9)}))
    report.write(folder)
    text = (folder / "report.md").read_text()
    assert "**One scheduler: there is nothing to compare cosine with. Its mean test accuracy is 90.00 %.**" in text
    assert "Final seeds 1000 to 1007" in text


def test_a_search_with_a_pruner_and_several_seeds(run: Run, tmp_path: Path) -> None:
    found = [
        run("cosine", "search", trial, seed, validation=[0.3, 0.4 + 0.01 * trial], lr=0.1 + 0.1 * trial)
        for trial in (0, 1, 3)
        for seed in (0, 1)
    ]
    found += [run("cosine", "search", 2, seed, validation=[0.3], state="pruned") for seed in (0, 1)]
    found += [run("cosine", trial=3, seed=1000 + place, test=value) for place, value in enumerate(_eight(0.9))]
    pruner = {"name": "median", "args": {"n_startup_trials": 5}}
    folder = _folder(tmp_path, found, n_trials=5, search_seeds=2, pruner=pruner)
    report.write(folder)
    text = (folder / "report.md").read_text()
    for part in (
        "5 trials for each scheduler, the first of them the configuration as it stands in its file (4 were trained, as a trial that",
        "each trial was trained with 2 seeds and scored by their mean",
        "pruner median (n_startup_trials=5)",
        "The pruner median stopped search runs by their accuracy on the way",
        "| cosine | 4 | 8 | 0 | 2 |",
    ):
        assert part in text, part
    assert "Each trial was one run" not in text


def test_many_schedulers_have_small_axes_of_their_own(run: Run) -> None:
    curve = run(validation=[0.5, 0.6], test=0.7).curves["val/accuracy"]
    assert len(pictures.metric_curves({f"{number}": [curve, curve] for number in range(10)}, "").axes) == 1
    assert len(pictures.metric_curves({f"{number}": [curve, curve] for number in range(11)}, "").axes) == 11


def test_a_scheduler_without_its_final_runs_is_named(run: Run, tmp_path: Path) -> None:
    folder = _folder(tmp_path, [*_sweep(run, {"cosine": _eight(0.9)}), run("rex", "search", 0, 0, validation=[0.5])])
    report.write(folder)
    assert "the final runs of their chosen configurations are missing: rex." in (folder / "report.md").read_text()


def test_without_final_runs_there_is_no_report(run: Run, tmp_path: Path) -> None:
    folder = _folder(tmp_path, [run("cosine", "search", 0, 0, validation=[0.5])])
    with pytest.raises(ConfigError, match=r"tiny: no finished final runs to report on"):
        report.write(folder)


# Where it comes from


def test_starts_survive_a_line_that_was_cut_short(tmp_path: Path) -> None:
    provenance.record_start(tmp_path, "/usr/bin/python -m lrbench.sweep n_trials=3")
    with (tmp_path / "starts.jsonl").open("a") as file:
        file.write('{"command": "python -m lrb')
    provenance.record_start(tmp_path, "/usr/bin/python -m lrbench.sweep n_trials=9")
    assert [start.command for start in provenance.starts(tmp_path)] == [f"python -m lrbench.sweep n_trials={n}" for n in (3, 9)]


def test_a_start_from_a_changed_checkout_is_marked(run: Run, tmp_path: Path) -> None:
    folder = _folder(tmp_path, _sweep(run, {"cosine": _eight(0.9)}))
    starts = [
        provenance.Start(command=f"python -m lrbench.sweep n_trials={n}", commit=commit, version="0.1.0", date="2026-11-23T10:00:00Z")
        for n, commit in ((1, "abc"), (2, f"abc{provenance.DIRTY}"), (3, "abc"))
    ]
    (folder / "starts.jsonl").write_text("".join(f"{start.model_dump_json()}\n" for start in starts))
    report.write(folder)
    text = (folder / "report.md").read_text()
    assert "lrbench 0.1.0, commit abc and abc with uncommitted changes." in text
    assert "started 3 times: here the first and the last" in text
    assert ("n_trials=1\n" in text, "n_trials=2\n" in text, "n_trials=3\n" in text) == (True, False, True)


def test_without_starts_the_commit_is_not_made_up(run: Run, tmp_path: Path) -> None:
    folder = _folder(tmp_path, _sweep(run, {"cosine": _eight(0.9)}))
    report.write(folder)
    assert "Commit of lrbench: not recorded" in (folder / "report.md").read_text()


def test_a_peak_rate_at_the_edge_of_its_range_is_named(run: Run, tmp_path: Path) -> None:
    found = [run(name, "search", 0, 0, validation=[0.5], lr=lr) for name, lr in (("cosine", 0.5), ("rex", 1.9))]
    found += [run(name, trial=0, test=0.7, lr=lr) for name, lr in (("cosine", 0.5), ("rex", 1.9))]
    folder = _folder(tmp_path, found)
    report.write(folder)
    assert "at an edge of what was searched, 0.05 to 2, for rex: a wider search" in (folder / "report.md").read_text()


# Several sweeps


def test_side_by_side(run: Run) -> None:
    sweeps = {
        "short": _sweep(run, {"cosine": [0.7, 0.8, 0.9], "rex": [0.6, 0.7, 0.8], "step": [0.5, 0.5, 0.5]}),
        "long": _sweep(run, {"cosine": [0.9, 0.9, 0.9], "rex": [0.8, 0.8, 0.8], "step": [0.95, 0.95, 0.95], "sine": [0.1, 0.1, 0.1]}),
    }
    longer = sweeps["long"][0].spec.train.model_copy(update={"epochs": 8.0})
    sweeps["long"] = [each.model_copy(update={"spec": each.spec.model_copy(update={"train": longer})}) for each in sweeps["long"]]
    table, words = side_by_side.compare(_rankings(sweeps))
    assert [row[0] for row in table.rows] == ["cosine", "rex", "step", "sine"]
    assert table.rows[0] == ["cosine", "80.00", "55.16 to 104.84", "1-3", "90.00", "90.00 to 90.00", "1-4", "10.00 (-14.84 to 34.84)"]
    assert table.rows[3] == ["sine", "", "", "", "10.00", "10.00 to 10.00", "1-4", ""]
    assert "Kendall's tau -0.33" in " ".join(words)  # of three pairs one keeps its order
    assert "  train.epochs: 4.0, 8.0" in words
    assert "difference: long minus short, by Welch's t, not corrected for being many" in words


def _repeated(run: Run, *sweeps: Mapping[str, Sequence[float]], apart: int = 100) -> dict[str, list[TrialResult]]:
    """Sweeps that differ in nothing but their seeds."""
    found = {}
    for number, accuracies in enumerate(sweeps):
        seeds = [(each, each.spec.model_copy(update={"seed": each.spec.seed + number * apart})) for each in _sweep(run, accuracies)]
        found[f"sweep {number}"] = [each.model_copy(update={"spec": spec}) for each, spec in seeds]
    return found


def _rankings(sweeps: Mapping[str, Sequence[TrialResult]]) -> dict[str, comparison.Ranking]:
    return {name: comparison.ranking(found) for name, found in sweeps.items()}


def test_repeats_of_a_sweep_by_hand(run: Run) -> None:
    sweeps = [
        {"cosine": [0.7, 0.8], "rex": [0.6, 0.6]},
        {"cosine": [0.8, 0.9], "rex": [0.5, 0.5]},
        {"cosine": [0.6, 0.7], "rex": [0.7, 0.7]},
    ]
    table, words = repeats.over_sweeps(repeats.common(_rankings(_repeated(run, *sweeps))))
    # Means 0.75, 0.85 and 0.65, so 0.75 +- 4.3027 * 0.1 / sqrt(3); two runs that are 0.1 apart make a mean with a deviation of 0.05.
    assert table.rows == [
        ["1-2", "cosine", "75.00", "50.16 to 99.84", "the best", "10.00", "5.00"],
        ["1-2", "rex", "60.00", "35.16 to 84.84", "15.00 (tie)", "10.00", "0.00"],
    ]
    assert "by 10.00 points (standard deviation): 3.54 by the seeds of its final runs, 9.35 by what the searches chose" in words[1]
    assert words[2] == "3 sweeps are too few to claim differences (6 are the least): all are ties here"


def test_six_repeats_can_claim(run: Run) -> None:
    sweeps = [{"cosine": [0.7 + shift], "rex": [0.6 + shift]} for shift in SEEDS[:6]]
    table, words = repeats.over_sweeps(repeats.common(_rankings(_repeated(run, *sweeps))))
    # SEEDS[:6] have the mean 0.0005 and the deviation 0.00187: +- 2.5706 * 0.00187 / sqrt(6).
    assert [row[:5] for row in table.rows] == [
        ["1", "cosine", "70.05", "69.85 to 70.25", "the best"],
        ["2", "rex", "60.05", "59.85 to 60.25", "10.00"],
    ]
    assert len(words) == 2
    assert words[1].endswith("(standard deviation)")  # one final run each: nobody knows what the seeds make


@pytest.mark.parametrize(
    ("apart", "said"), [(100, "over the 3 sweeps, which repeat each other"), (1, "they share seeds of final runs, such as 1001")]
)
def test_repeats_are_told_from_sweeps_with_the_same_seeds(
    run: Run, tmp_path: Path, command: Callable[..., subprocess.CompletedProcess[str]], apart: int, said: str
) -> None:
    for name, found in _repeated(run, *[{"cosine": [0.7, 0.8], "rex": [0.6, 0.7]}] * 3, apart=apart).items():
        (tmp_path / name).mkdir()
        results.write_lines(tmp_path / name / "results.jsonl", found)
    done = command("report", "sweep 0", "sweep 1", "sweep 2")
    assert said in done.stdout, done.stderr
    assert "differ in nothing but their seeds" in done.stdout


# Verification


@pytest.fixture(scope="module")
def trained() -> list[TrialResult]:
    """A search run and two final runs, really trained."""
    cfg = config.load("config", [*SMALL, "scheduler=cosine", "train.epochs=0.5"])
    specs = [config.parse(cfg, phase=phase, trial=0, seed=seed) for phase, seed in (("search", 0), ("final", 1000), ("final", 1001))]
    return [loop.train_one(spec.settled(device.machine("cpu"))) for spec in specs]


def test_verified_runs_are_identical(trained: list[TrialResult]) -> None:
    said: list[str] = []
    assert verify.verify(trained, "cosine", said.append)
    assert sum("identical" in line for line in said) == 3
    assert said[-1] == "identical: the row holds, to the last digit"


def test_what_is_not_identical_may_lie_in_the_interval(trained: list[TrialResult]) -> None:
    assert _verified(trained, "cosine:1000", (0.002, -0.002)) == (True, "lies in the interval in which 95 % of such runs lie")
    assert _verified(trained, "cosine", (0.01, 0.0)) == (True, "lies in the 95 % interval of the mean")


def test_what_lies_outside_does_not_hold(trained: list[TrialResult]) -> None:
    off = 0.5 - np.array([each.last("test/accuracy") for each in trained[1:]])  # both are said to have had 0.5, nearly
    assert _verified(trained, "cosine", (off[0], off[1] + 1e-6)) == (False, "does not lie in the 95 % interval of the mean")


def _verified(trained: Sequence[TrialResult], wanted: str, changes: Sequence[float]) -> tuple[bool, str]:
    """Verify after the recorded test accuracies have been changed by so much."""
    search, *final = trained
    changed = []
    for each, change in zip(final, changes, strict=True):
        curve = each.curves["test/accuracy"]
        moved = curve.model_copy(update={"values": [curve.values[-1] + float(change)]})
        changed.append(each.model_copy(update={"curves": {**each.curves, "test/accuracy": moved}}))
    said: list[str] = []
    held = verify.verify([search, *changed], wanted, said.append)
    found = re.search(r"% (lies in .+?|does not lie in .+?), ", said[-1])
    assert found, said
    return held, found[1]


def test_verify_refuses_what_it_cannot_train(trained: list[TrialResult]) -> None:
    for wanted, message in (("cosin", "did you mean cosine"), ("cosine:7", "no such seed; cosine has 1000, 1001")):
        with pytest.raises(ConfigError, match=message):
            verify.verify(trained, wanted, print)
    search, final, _ = trained
    foreign = final.spec.model_copy(update={"model": final.spec.model.model_copy(update={"target": "os.system"})})
    with pytest.raises(ConfigError, match=r"model\._target_=os\.system"):
        verify.verify([search, final.model_copy(update={"spec": foreign})], "cosine", print)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["sweep"], 0, "cosine has the highest mean"),
        (["sweep", "other"], 0, "side by side"),
        (["sweep", "sweep"], 0, "cosine has the highest mean"),
        (["sweep", "--baseline", "cosin"], 2, "--baseline cosin: not among"),
        (["sweep", "--target", "60"], 2, "--target 60: a fraction"),
        (["--verify", "sweep", "cosine:7"], 2, "no such seed"),
        (["nowhere"], 2, "not the folder of a sweep"),
        ([], 2, "a sweep's folder is needed"),
    ],
    ids=str,
)
def test_command(
    arguments: list[str],
    code: int,
    said: str,
    written: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder in ("sweep", "other"):
        (tmp_path / folder).mkdir()
        shutil.copy(written / "results.jsonl", tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["report", *arguments])
    ended: object = 0
    try:
        report.main()
    except SystemExit as end:
        ended = end.code
    out, err = capsys.readouterr()
    assert ended == code
    assert said in out + err
    assert [path.name for path in (tmp_path / "sweep").iterdir()] == ["results.jsonl"]
