"""The methods and limitations of a report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrbench.analysis.outcomes import SearchOutcome
from lrbench.analysis.ranking import Ranking
from lrbench.reporting.answer import counted_pairs
from lrbench.reporting.document import Block, Commands, Text
from lrbench.results.provenance import DIRTY, Provenance
from lrbench.results.result import TrialResult
from lrbench.spec import TrialSpec
from lrbench.text import counted, counted_range, duration, listed, percent, ranges


def methods(ranking: Ranking, results: Sequence[TrialResult], provenance: Provenance) -> list[str]:
    """Return the facts of the experiment: data, network, budget, seeds, hardware, versions, date.

    Each takes one or two sentences.
    """
    return [
        *_data(ranking, results),
        _training(ranking, results),
        _budget(ranking, provenance),
        *_seeds(ranking),
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


def _seeds(ranking: Ranking) -> list[str]:
    """Return the final seeds, and why they pair the runs."""
    by_scheduler = [{run.spec.seed for run in row.runs} for row in ranking.rows]
    seeds = ranges(sorted(set().union(*by_scheduler)))
    first = f"The final seeds are {seeds}; some schedulers lack runs with some of them."
    if all(used == by_scheduler[0] for used in by_scheduler):
        first = f"All {'ranked ' if ranking.unranked else ''}schedulers used the final seeds {seeds}."
    pairs = "seed."
    if ranking.is_by_search:
        pairs = "search: in a search, all schedulers have the same seeds."
        if not _share_seeds(ranking):
            pairs = "search, although some schedulers lack seeds that others have in the same search."
    sets = "A seed sets the initial weights, the order and the augmentation of the images."
    return [first, f"{sets} So differences are paired by {pairs}"]


def _share_seeds(ranking: Ranking) -> bool:
    """Return True if all schedulers have the same final seeds in each search that they have."""
    seeds = {(one.number, frozenset(one.accuracies)) for row in ranking.rows for one in row.outcomes}
    return len(seeds) == len({number for number, _ in seeds})


def _cost(results: Sequence[TrialResult]) -> str:
    seconds = sum(run.train_seconds + run.eval_seconds for run in results)
    diverged, pruned = (sum(run.state == state for run in results) for state in ("diverged", "pruned"))
    return (
        f"All {len(results)} runs took {duration(seconds)} of machine time; {diverged} diverged, {pruned} were pruned."
    )


def _budget(ranking: Ranking, provenance: Provenance) -> str:
    """Return the size of the searches, counted from their results.

    The last start may have had other settings than the runs of an earlier one.
    """
    settings, outcomes = provenance.settings, [outcome for row in ranking.rows for outcome in row.outcomes]
    trials = [len({run.spec.trial_number for run in outcome.search}) for outcome in outcomes]
    most, size = max(trials), counted_range(trials, "trial")
    parts = [f"{size} for each scheduler"]
    if ranking.is_by_search:
        parts = [f"{counted_range([len(row.outcomes) for row in ranking.rows], 'search')} of {parts[0]}"]
    if min(trials) < (planned := settings.get("n_trials", most)):
        parts[0] += f" (n_trials={planned}, without those that repeat an earlier trial or have no result)"
    first = "the first trial has the default configuration"
    if (startup := min(settings.get("startup_trials", 1), most) - 1) > 0:
        first += f", the next {startup} {'is' if startup == 1 else 'are'} spread over the space (scrambled Sobol)"
    parts.append(first)
    if (seeds := search_seeds(provenance)) > 1:
        parts.append(f"each trial is the mean of {seeds} seeds")
    parts += _confirmations(outcomes, settings.get("confirm", 0))
    sampler = f"sampler {_component(settings['sampler'])}" if "sampler" in settings else "sampler not recorded"
    parts.append(sampler + (f", seed {settings['seed']}" if "seed" in settings else ""))
    parts.append(f"pruner {_component(settings['pruner'])}" if pruner_name(provenance) != "none" else "no pruner")
    return f"{'; '.join(parts)}."


def _confirmations(outcomes: Sequence[SearchOutcome], confirm: int) -> list[str]:
    """Return how many trials of a search were trained again."""
    again = [min(confirm, len({run.spec.trial_number for run in one.confirmation})) for one in outcomes]
    confirmed = [count for count in again if count]
    if not confirmed:
        return []
    where = "a search" if len(confirmed) == len(again) else f"{len(confirmed)} of {len(again)} searches"
    best = "trial" if max(confirmed) == 1 else counted_range(confirmed, "trial")
    verb = "is" if max(confirmed) == 1 else "are"
    return [f"the best {best} of {where} {verb} trained again before one is chosen"]


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
        _covered_by_the_intervals(ranking),
    ]
    if math.isfinite(resolution := _resolution(ranking)):
        lines.append(
            f"After the correction, {counted_pairs(ranking.pairs, ranking)} cannot show differences below about "
            f"{percent(resolution)} points."
        )
    lines += _search_limitations(ranking, results, provenance)
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


def _covered_by_the_intervals(ranking: Ranking) -> str:
    if ranking.is_by_search:
        return (
            "The intervals cover the luck of the searches and of the final seeds. Searches with more trials may "
            "choose better configurations, and the order may change."
        )
    return (
        "The intervals cover the noise of the final seeds, not the noise of the search: another search, with another "
        "seed or more trials, may choose other configurations."
    )


def _search_limitations(ranking: Ranking, results: Sequence[TrialResult], provenance: Provenance) -> list[str]:
    lines = []
    is_confirmed = any(run.spec.phase == "confirm" for run in results)
    if search_seeds(provenance) == 1 and not ranking.is_by_search and not is_confirmed:
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


def _resolution(ranking: Ranking) -> float:
    """Return half the median width of the intervals of the gaps, NaN without intervals."""
    halves = [row.gap_to_best.difference.half_width for row in ranking.rows[1:]]
    return float(np.median(halves)) if halves and ranking.has_enough_pairs else float("nan")
