"""Train final runs of a report again, and compare."""

from collections.abc import Iterator, Sequence

import numpy as np

from lrbench.analysis.ranking import Ranking
from lrbench.analysis.row import Row
from lrbench.analysis.statistics import Interval
from lrbench.config.targets import check_targets
from lrbench.config.validation import suggestion
from lrbench.reporting.document import interval_text
from lrbench.results.provenance import hardware
from lrbench.results.result import TrialResult
from lrbench.spec import ConfigError, TrialSpec
from lrbench.text import Log, percent

SECTIONS_WITH_TARGETS = ("scheduler", "optimizer", "model", "data")


def verify_row(ranking: Ranking, name: str, log: Log, allow: Sequence[str] = ()) -> bool:
    """Train the final runs of SCHEDULER[:SEED] again, and return True if the reported row holds.

    The row holds if all runs are identical, or if their mean is inside a prediction interval over
    seeds: of the mean of as many further runs, or of one more run of the same search. The luck of
    searches is left out, because the configurations are the same. `allow` has prefixes of targets
    in addition to lrbench's. Raises ConfigError if the ranking has no such run, if a target is not
    allowed, or if this machine cannot train the runs.
    """
    row, reported = _reported_runs(ranking, name)
    for run in reported:  # before any training, because results may come from anyone
        _check_targets(run.spec, allow)
    repeated = []
    for old, new in zip(reported, _train_again(reported, log), strict=True):
        repeated.append(new)
        before, after = percent(old.last("test/accuracy")), percent(new.last("test/accuracy"))
        verdict = "identical" if _is_identical(old, new) else "not identical"
        log(f"{row.scheduler} seed {old.spec.seed}: test accuracy {before} % reported, {after} % now, {verdict}")
    for label, runs in (("reported", reported), ("now", repeated)):
        log(f"{label}: {'; '.join(hardware(runs))}")
    if all(_is_identical(old, new) for old, new in zip(reported, repeated, strict=True)):
        log("identical: the row holds, to the last digit")
        return True
    mean = _mean_accuracy(repeated)
    if len(reported) == len(row.runs):
        interval = row.seed_interval(_mean_accuracy(reported), 2 / len(reported))
        return _is_inside(mean, interval, "the interval that contains 95 % of such repeats", log)
    (outcome,) = [outcome for outcome in row.outcomes if outcome.number == reported[0].spec.search]
    interval = row.seed_interval(outcome.mean, 1 + 1 / len(outcome.finals))
    return _is_inside(mean, interval, "the interval that contains 95 % of such runs", log)


def _mean_accuracy(runs: Sequence[TrialResult]) -> float:
    return float(np.mean([run.last("test/accuracy") for run in runs]))


def _reported_runs(ranking: Ranking, name: str) -> tuple[Row, list[TrialResult]]:
    """Return the row of a scheduler in the ranking and its runs, or only its run with the seed."""
    scheduler, _, seed = name.partition(":")
    rows = {row.scheduler: row for row in ranking.rows}
    if scheduler not in rows:
        raise ConfigError(f"--verify {name}: must be in the ranking{suggestion(scheduler, list(rows))}")
    row = rows[scheduler]
    if not seed:
        return row, list(row.runs)
    seeds = [f"{run.spec.seed}" for run in row.runs]
    if seed not in seeds:
        raise ConfigError(f"--verify {name}: the seed must be one of {', '.join(seeds)}")
    return row, [row.runs[seeds.index(seed)]]


def _check_targets(spec: TrialSpec, allow: Sequence[str]) -> None:
    sections = spec.model_dump(by_alias=True)
    for section in SECTIONS_WITH_TARGETS:
        check_targets(sections[section], section, allow)


def _train_again(runs: Sequence[TrialResult], log: Log) -> Iterator[TrialResult]:
    """Yield the new result of each run. They share the data in memory, as in a sweep."""
    from lrbench.training.preflight import preflight  # imports torch, which other reports do not need
    from lrbench.training.run_cache import RunCache
    from lrbench.training.train import train_one

    run_cache = RunCache()
    for run in runs:
        spec = _on_any_gpu(run.spec)
        try:
            preflight([spec], run_cache, log=lambda text: None)
        except ConfigError as error:
            raise ConfigError(f"{spec.scheduler.name} was trained on {run.environment['device']}: {error}") from error
        log(f"training {spec.scheduler.name} seed {spec.seed} again: {spec.train.total_steps} steps")
        yield train_one(spec, run_cache=run_cache)


def _on_any_gpu(spec: TrialSpec) -> TrialSpec:
    """Return a spec that may use any GPU of this machine if it was trained on one."""
    return spec.model_copy(update={"device": "cuda"}) if spec.device.startswith("cuda") else spec


def _is_identical(old: TrialResult, new: TrialResult) -> bool:
    return _last_values(old) == _last_values(new)


def _last_values(run: TrialResult) -> dict[str, float]:
    """Return the last value of each curve. Committed results have no others."""
    return {name: curve.values[-1] for name, curve in run.curves.items()}


def _is_inside(mean: float, interval: Interval, label: str, log: Log) -> bool:
    if np.isnan(interval.low):
        log("not identical, and one run of each search gives no interval: the row does not hold")
        return False
    inside = interval.low <= mean <= interval.high
    place, verdict = ("inside", "holds") if inside else ("outside", "does not hold")
    log(f"{percent(mean)} % is {place} {label}, {interval_text(interval)}: the row {verdict}")
    return inside
