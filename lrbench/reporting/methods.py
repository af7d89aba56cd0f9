"""The methods and limitations of a report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrbench.analysis.ranking import Ranking
from lrbench.reporting.document import Block, Commands, Text
from lrbench.results.provenance import DIRTY, Provenance
from lrbench.results.result import TrialResult
from lrbench.spec import TrialSpec
from lrbench.text import counted, duration, listed, percent, ranges

NEAR_BOUND = 0.05  # of the searched range, on its logarithmic scale


def methods(ranking: Ranking, results: Sequence[TrialResult], provenance: Provenance) -> list[str]:
    """Return the facts of the experiment: data, network, budget, seeds, hardware, versions, date.

    Each takes one or two sentences.
    """
    seeds = sorted({run.spec.seed for row in ranking.rows for run in row.runs})
    return [
        *_data(ranking, results),
        _training(ranking, results),
        _budget(ranking, provenance),
        f"All schedulers used the final seeds {ranges(seeds)}. A seed sets the initial weights, the order and the "
        "augmentation of the images. So differences are paired by seed.",
        _cost(results),
        *(f"The runs were made on {hardware}." for hardware in provenance.hardware),
        _version(provenance),
        f"Date: {' to '.join(dict.fromkeys((provenance.first_date, provenance.last_date)))}.",
    ]


def _data(ranking: Ranking, results: Sequence[TrialResult]) -> list[str]:
    search, final = _search_spec(results), ranking.rows[0].runs[0].spec
    sentences = []
    if search:
        sentences.append(
            f"The search trained on {search.data.train_images} images of {final.data.name} and scored trials on "
            f"{search.data.holdout_images} validation images."
        )
    times = (
        "at each evaluation, but only the last score counts" if final.train.test_curve else "once, after the last step"
    )
    sentences.append(
        f"The final runs trained on {final.data.train_images} images. Each scored the test images {times}. The search "
        "never used the test images."
    )
    return sentences


def _search_spec(results: Sequence[TrialResult]) -> TrialSpec | None:
    return next((run.spec for run in results if run.spec.phase == "search"), None)


def _training(ranking: Ranking, results: Sequence[TrialResult]) -> str:
    search, final = _search_spec(results), ranking.rows[0].runs[0].spec
    steps = f"{search.train.total_steps} steps in the search, " if search else ""
    precisions = listed(sorted({run.spec.train.precision for run in results}))
    return (
        f"Network {final.model.name}, optimizer {final.optimizer.name}, {counted(final.train.epochs, 'epoch')} in "
        f"batches of {final.train.batch_size}: {steps}{final.train.total_steps} in the final runs; precision "
        f"{precisions}."
    )


def _cost(results: Sequence[TrialResult]) -> str:
    seconds = sum(run.train_seconds + run.eval_seconds for run in results)
    diverged, pruned = (sum(run.state == state for run in results) for state in ("diverged", "pruned"))
    return (
        f"All {len(results)} runs took {duration(seconds)} of machine time; {diverged} diverged, {pruned} were pruned."
    )


def _budget(ranking: Ranking, provenance: Provenance) -> str:
    settings = provenance.settings
    trained = sorted({row.search.trials for row in ranking.rows})
    trials = settings.get("n_trials", trained[-1])
    parts = [f"{counted(trials, 'trial')} for each scheduler, the first with the default configuration"]
    if trained != [trials]:
        spread = " to ".join(dict.fromkeys((f"{trained[0]}", f"{trained[-1]}")))
        parts[0] += f" ({spread} were trained, because lrbench does not train a trial twice)"
    if (seeds := search_seeds(provenance)) > 1:
        parts.append(f"each trial is the mean of {seeds} seeds")
    sampler = f"sampler {_component(settings['sampler'])}" if "sampler" in settings else "sampler not recorded"
    parts.append(sampler + (f", seed {settings['seed']}" if "seed" in settings else ""))
    parts.append(f"pruner {_component(settings['pruner'])}" if pruner_name(provenance) != "none" else "no pruner")
    return f"{'; '.join(parts)}."


def _component(settings: Mapping[str, Any]) -> str:
    args = ", ".join(f"{key}={value}" for key, value in (settings.get("args") or {}).items())
    return f"{settings['name']}{f' ({args})' if args else ''}"


def pruner_name(provenance: Provenance) -> str:
    """Return the name of the search's pruner, `none` if it had no pruner."""
    return str((provenance.settings.get("pruner") or {}).get("name", "none"))


def search_seeds(provenance: Provenance) -> int:
    """Return the number of runs per trial."""
    return int(provenance.settings.get("search_seeds", 1))


def _version(provenance: Provenance) -> str:
    if not provenance.starts:
        return "The commit of lrbench is not recorded, because the folder has no starts.jsonl."
    versions = listed(dict.fromkeys(start.version for start in provenance.starts))
    unclear = any(commit.endswith(DIRTY) or commit.startswith("version ") for commit in provenance.commits)
    clean = "" if unclear else ", no uncommitted changes"  # without git, the version stands for the commit
    return f"lrbench {versions}, commit {listed(provenance.commits)}{clean}."


def commands(ranking: Ranking, provenance: Provenance) -> list[Block]:
    """Return the commands that made the results, and the commands that verify them."""
    blocks: list[Block] = []
    starts = provenance.starts
    if starts:
        lines = list(dict.fromkeys(start.command for start in (starts[0], starts[-1])))
        times = f" (the first and the last of {len(starts)} starts)" if len(lines) > 1 else ""
        blocks += [Text(f"The exact command{times}:"), Commands(lines)]
    best = ranking.rows[0]
    verify = f"python -m lrbench.report --verify FOLDER {best.scheduler}"
    words = (
        "These commands train a row of the ranking, or one of its runs, again and compare the results. FOLDER is the "
        "sweep's folder."
    )
    return [*blocks, Text(words), Commands([verify, f"{verify}:{best.runs[0].spec.seed}"])]


def limitations(ranking: Ranking, results: Sequence[TrialResult], provenance: Provenance) -> list[str]:
    """Return the limitations of the results, one or two sentences each."""
    final = ranking.rows[0].runs[0].spec
    trained = f"{counted(final.train.epochs, 'epoch')} ({final.train.total_steps} steps)"
    lines = [
        f"The results are for one data set ({final.data.name}), one network ({final.model.name}) and one optimizer "
        f"({final.optimizer.name}), with {trained}. In other settings, the order may differ.",
        "The intervals cover the noise of the final seeds, not the noise of the search: another search, with another "
        "seed or more trials, may choose other configurations.",
    ]
    if math.isfinite(resolution := _resolution(ranking)):
        lines.append(
            f"After the correction, {ranking.pairs} seeds cannot show differences below about {percent(resolution)} "
            "points."
        )
    lines += _search_limitations(results, provenance)
    lines += _near_search_bound(ranking, provenance.settings)
    if any(row.diverged for row in ranking.rows):
        lines.append("A mean over finished and diverged runs mixes two kinds of runs, so its interval is rough.")
    if len(provenance.hardware) > 1:
        lines.append("The runs were made on several machines or versions, so paired runs may differ in these too.")
    if final.optimizer.weight_decay:
        lines.append(
            "Each step decays the weights in proportion to the learning rate, as in torch: schedules differ in weight "
            "decay too."
        )
    return lines


def _search_limitations(results: Sequence[TrialResult], provenance: Provenance) -> list[str]:
    lines = []
    if search_seeds(provenance) == 1:
        lines.append("Each trial was one run with the same seed, so the choice is in part luck with that seed.")
    steps = {run.spec.phase: run.spec.train.total_steps for run in results}
    if "search" in steps and steps["search"] != steps["final"]:
        lines.append(
            f"The search compared runs of {steps['search']} steps, but the final runs have {steps['final']}: the best "
            "configuration may differ."
        )
    if (pruner := pruner_name(provenance)) != "none":
        lines.append(
            f"The pruner {pruner} stopped search runs by their accuracy before the end, which is a disadvantage for "
            "schedules that decay late."
        )
    return lines


def _near_search_bound(ranking: Ranking, settings: Mapping[str, Any]) -> list[str]:
    """Return a sentence if a chosen peak rate is within NEAR_BOUND of an end of its range."""
    searched = settings.get("optimizer", {}).get("search", {}).get("lr", {})
    if not searched.get("log"):
        return []
    low, high = math.log(searched["low"]), math.log(searched["high"])
    places = {row.scheduler: (math.log(row.runs[0].spec.optimizer.lr) - low) / (high - low) for row in ranking.rows}
    names = [name for name, place in places.items() if not NEAR_BOUND < place < 1 - NEAR_BOUND]
    if not names:
        return []
    rates = f"{searched['low']:g} to {searched['high']:g}"
    return [
        f"For {listed(names)}, the chosen peak rate is near an end of the searched range, {rates}. A wider search may "
        "find a better one."
    ]


def _resolution(ranking: Ranking) -> float:
    """Return half the median width of the intervals of the gaps, NaN without intervals."""
    halves = [row.gap_to_best.difference.half_width for row in ranking.rows[1:]]
    return float(np.median(halves)) if halves and ranking.has_enough_pairs else float("nan")
