"""Train final runs of a report again, and see whether its numbers hold."""

from collections.abc import Callable, Sequence

import numpy as np

from lrbench import comparison, config, examination, provenance
from lrbench.blocks import between, percent
from lrbench.comparison import Row
from lrbench.results import TrialResult
from lrbench.spec import ConfigError
from lrbench.stats import Interval, t_prediction

Say = Callable[[str], None]


def verify(found: Sequence[TrialResult], wanted: str, say: Say, allow: Sequence[str] = ()) -> bool:
    """Train the final runs of SCHEDULER[:SEED] again; return whether they come out the same, or their mean lies in the interval.

    That is the interval of the mean for all runs of a scheduler; for one of several, that in which 95 % of such runs lie. `allow` are
    prefixes of targets beside lrbench's own. Raises ConfigError.
    """
    row, then = _chosen(found, wanted)
    now = []
    for run in then:
        now.append(_again(run, allow, say))
        same = "identical" if _last(now[-1]) == _last(run) else "not identical"
        was, is_now = (percent(each.last("test/accuracy")) for each in (run, now[-1]))
        say(f"{row.scheduler} seed {run.spec.seed}: test accuracy {was} % then, {is_now} % now, {same}")
    for label, runs in (("then", then), ("now", now)):
        say(f"{label}: {'; '.join(provenance.machines(runs))}")
    if all(_last(one) == _last(other) for one, other in zip(then, now, strict=True)):
        say("identical: the row holds, to the last digit")
        return True
    mean = float(np.mean([run.last("test/accuracy") for run in now]))
    return _within(mean, *_interval(row, then), say)


def _chosen(found: Sequence[TrialResult], wanted: str) -> tuple[Row, list[TrialResult]]:
    """Return the row that is meant, and its runs that are."""
    name, _, seed = wanted.partition(":")
    rows = {row.scheduler: row for row in comparison.ranking(found).rows}
    if name not in rows:
        raise ConfigError(f"--verify {wanted}: not in the ranking{config.nearest(name, list(rows))}")
    runs = [run for run in rows[name].runs if seed in ("", f"{run.spec.seed}")]
    if not runs:
        seeds = ", ".join(f"{run.spec.seed}" for run in rows[name].runs)
        raise ConfigError(f"--verify {wanted}: no such seed; {name} has {seeds}")
    return rows[name], runs


def _again(run: TrialResult, allow: Sequence[str], say: Say) -> TrialResult:
    from lrbench import loop  # with torch, which other reports do without

    spec = run.spec.model_copy(update={"device": "cuda"}) if run.spec.device.startswith("cuda") else run.spec  # any of them
    plain = spec.model_dump(by_alias=True)
    for section in ("scheduler", "optimizer", "model"):  # results may come from anyone
        config.check_targets(plain[section], section, (*config.ALLOWED_TARGETS, *allow))
    try:
        examination.examine([spec], say=lambda finding: None)
    except ConfigError as error:
        raise ConfigError(f"{spec.scheduler.name} was trained on {run.environment['device']}: {error}") from error
    say(f"training {spec.scheduler.name} seed {spec.seed} again: {spec.train.total_steps} steps")
    return loop.train_one(spec)


def _last(run: TrialResult) -> dict[str, float]:
    """Return the last value of each curve, which committed results have too."""
    return {name: curve.values[-1] for name, curve in run.curves.items()}


def _interval(row: Row, runs: Sequence[TrialResult]) -> tuple[Interval, str]:
    if len(runs) == len(row.runs):
        return row.mean, "the 95 % interval of the mean"
    return t_prediction(row.accuracies), "the interval in which 95 % of such runs lie"


def _within(mean: float, interval: Interval, what: str, say: Say) -> bool:
    if np.isnan(interval.low):
        say("not identical, and one run has no interval: the row does not hold")
        return False
    inside = interval.low <= mean <= interval.high
    lies, holds = ("lies", "holds") if inside else ("does not lie", "does not hold")
    say(f"{percent(mean)} % {lies} in {what}, {between(interval)}: the row {holds}")
    return inside
