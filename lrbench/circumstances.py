"""The sections of a report on how the results were made, and on what they do not show."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lrbench.blocks import Block, Commands, Text, counted, duration, listed, percent, ranges
from lrbench.comparison import Ranking
from lrbench.provenance import DIRTY, Provenance
from lrbench.results import TrialResult


def made(ranking: Ranking, found: Sequence[TrialResult], provenance: Provenance) -> list[str]:
    """Return how the results were made, a sentence or two each: data, network, budget, seeds, hardware, versions, date."""
    final = ranking.rows[0].runs[0].spec
    search = next((run.spec for run in found if run.spec.phase == "search"), None)
    seeds = sorted({run.spec.seed for row in ranking.rows for run in row.runs})
    seconds = sum(run.train_seconds + run.eval_seconds for run in found)
    precisions = listed(sorted({run.spec.train.precision for run in found}))

    def count(state: str) -> int:
        return sum(run.state == state for run in found)

    lines = []
    if search:
        trained, held = search.data.train_images, search.data.holdout_images
        lines.append(f"The search trained on {trained} images of {final.data.name} and chose on {held} validation images.")
    steps = f"{search.train.total_steps} steps in the search, " if search else ""
    lines += [
        f"The final runs trained on {final.data.train_images} images. The test images were scored once in each, after its last step, and "
        "never in the search.",
        f"Network {final.model.name}, optimizer {final.optimizer.name}, {counted(final.train.epochs, 'epoch')} in batches of "
        f"{final.train.batch_size}: {steps}{final.train.total_steps} in the final runs; {precisions}.",
        _budget(ranking, provenance),
        f"Final seeds {ranges(seeds)}, the same for every scheduler: the same first weights, order and augmentation of the images, so that "
        "differences are taken seed by seed.",
        f"{len(found)} runs in all took {duration(seconds)} of machine time; {count('diverged')} diverged, {count('pruned')} were pruned.",
        *(f"Made on {machine}." for machine in provenance.machines),
        _version(provenance),
        f"Date: {' to '.join(dict.fromkeys((provenance.first_date, provenance.last_date)))}.",
    ]
    return lines


def _budget(ranking: Ranking, provenance: Provenance) -> str:
    trained = sorted({row.search.trials for row in ranking.rows})
    asked = provenance.settings.get("n_trials", trained[-1])
    spread = " to ".join(dict.fromkeys((f"{trained[0]}", f"{trained[-1]}")))
    repeats = f" ({spread} were trained, as a trial that repeats an earlier one is not)" if trained != [asked] else ""
    seeds = search_seeds(provenance)
    scored = f"; each trial was trained with {seeds} seeds and scored by their mean" if seeds > 1 else ""
    pruner = "no pruner" if pruner_name(provenance) == "none" else f"pruner {_component(provenance.settings['pruner'])}"
    sampler = f"sampler {_component(provenance.settings['sampler'])}" if "sampler" in provenance.settings else "the sampler is not recorded"
    seed = f", seed {provenance.settings['seed']}" if "seed" in provenance.settings else ""
    first = "the first of them the configuration as it stands in its file"
    return f"{counted(asked, 'trial')} for each scheduler, {first}{repeats}{scored}; {sampler}{seed}; {pruner}."


def _component(settings: Mapping[str, Any]) -> str:
    args = ", ".join(f"{key}={value}" for key, value in (settings.get("args") or {}).items())
    return f"{settings['name']}{f' ({args})' if args else ''}"


def pruner_name(provenance: Provenance) -> str:
    """Return the name of the search's pruner; `none` for none."""
    return str((provenance.settings.get("pruner") or {}).get("name", "none"))


def search_seeds(provenance: Provenance) -> int:
    """Return the number of runs of a trial."""
    return int(provenance.settings.get("search_seeds", 1))


def _version(provenance: Provenance) -> str:
    if not provenance.starts:
        return "Commit of lrbench: not recorded, as the sweep is older than starts.jsonl."
    versions = listed(dict.fromkeys(start.version for start in provenance.starts))
    clean = "" if any(commit.endswith(DIRTY) for commit in provenance.commits) else ", no uncommitted changes"
    return f"lrbench {versions}, commit {listed(provenance.commits)}{clean}."


def commands(ranking: Ranking, provenance: Provenance) -> list[Block]:
    """Return the command that made the results, and those that check them."""
    blocks: list[Block] = []
    if provenance.starts:
        commands = list(dict.fromkeys(start.command for start in (provenance.starts[0], provenance.starts[-1])))
        times = f" The sweep was started {len(provenance.starts)} times: here the first and the last." if len(commands) > 1 else ""
        blocks += [Text(f"The exact command:{times}"), Commands(commands)]
    best = ranking.rows[0]
    verify = f"python -m lrbench.report --verify FOLDER {best.scheduler}"
    words = "To train a row of the ranking again, or one of its runs, and see whether the numbers hold (FOLDER is where this file lies):"
    return [*blocks, Text(words), Commands([verify, f"{verify}:{best.runs[0].spec.seed}"])]


def limits(ranking: Ranking, found: Sequence[TrialResult], provenance: Provenance) -> list[str]:
    """Return what the results do not show, a sentence or two each."""
    final = ranking.rows[0].runs[0].spec
    search = next((run.spec for run in found if run.spec.phase == "search"), None)
    trained = f"{counted(final.train.epochs, 'epoch')} ({final.train.total_steps} steps)"
    lines = [
        f"One data set ({final.data.name}), one network ({final.model.name}), one optimizer ({final.optimizer.name}), {trained}: elsewhere "
        "the order may differ.",
        "The intervals hold the noise of the final seeds, not that of the search: another search, with another seed or more trials, may "
        "choose other configurations.",
    ]
    if math.isfinite(resolution := _resolution(ranking)):
        lines.append(
            f"Differences below about {percent(resolution)} points could not be seen with {ranking.pairs} seeds, after the correction."
        )
    if search_seeds(provenance) == 1:
        lines.append("Each trial was one run with the same seed, so a chosen configuration is in part a lucky one for that seed.")
    if search and search.train.total_steps != final.train.total_steps:
        lines.append(
            f"The configurations were chosen in runs of {search.train.total_steps} steps and judged in runs of {final.train.total_steps}: "
            "what is best for the one need not be best for the other."
        )
    lines += _at_an_edge(ranking, provenance.settings)
    if (pruner := pruner_name(provenance)) != "none":
        lines.append(
            f"The pruner {pruner} stopped search runs by their accuracy on the way, which does not favour schedules that decay late."
        )
    if any(row.diverged for row in ranking.rows):
        lines.append("Where runs diverged, the mean is that of two kinds of runs, and the interval by Student's t a rough one.")
    if len(provenance.machines) > 1:
        lines.append("Not all runs were made on the same machine with the same versions, so that pairs of runs may differ in that too.")
    if final.optimizer.name == "sgd":
        lines.append("SGD's weight decay follows the learning rate, as in torch: schedules differ in decay too.")
    return lines


def _at_an_edge(ranking: Ranking, settings: Mapping[str, Any]) -> list[str]:
    """Return that peak rates were chosen within a twentieth of the end of the range that was searched, on its logarithmic scale."""
    searched = settings.get("optimizer", {}).get("search", {}).get("lr", {})
    if not searched.get("log"):
        return []
    low, high = math.log(searched["low"]), math.log(searched["high"])
    place = {row.scheduler: (math.log(row.runs[0].spec.optimizer.lr) - low) / (high - low) for row in ranking.rows}
    names = [name for name, at in place.items() if not 0.05 < at < 0.95]
    if not names:
        return []
    rates = f"{searched['low']:g} to {searched['high']:g}"
    return [
        f"The chosen peak rate lies at an edge of what was searched, {rates}, for {listed(names)}: a wider search may find a better one."
    ]


def _resolution(ranking: Ranking) -> float:
    """Return half the width of a usual interval of the difference from the best; nan where nothing can be claimed."""
    halves = [row.behind.difference.half for row in ranking.rows[1:]]
    return float(np.median(halves)) if halves and ranking.claimable else float("nan")
