"""How often a sweep claims a difference that is not there, and how often it finds one that is.

The searches are simulated. A scheduler's validation accuracy falls off around its best
configuration like a bowl, and each run adds noise. `python -m scripts.benchmarks.claims` takes
minutes and needs no data.
"""

import argparse
import itertools
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.stats import qmc

from lrbench.analysis.comparison import compare_by_search
from lrbench.analysis.statistics import MIN_SEARCHES, holm_tests, paired_estimate
from scripts.benchmarks import record

BEST = np.array([0.4, 0.6])  # the place of the best configuration in the ranges of two hyperparameters
DEFAULT = np.array([0.52, 0.48])  # the place of the default configuration


@dataclass(frozen=True)
class Network:
    """The noise of a network, in points of accuracy, as `sweeps/repeats.md` measured it.

    `loss` is the mean loss of a random configuration against the best one.
    """

    loss: float
    validation: float
    seed: float


SMALL = Network(loss=0.8, validation=0.6, seed=0.43)  # 62 to 70 %, with a well-chosen range
ACCURATE = Network(loss=0.5, validation=0.45, seed=0.14)  # 94 %
NETWORKS = {"small": SMALL, "accurate": ACCURATE}
WIDE = Network(loss=6.0, validation=0.5, seed=0.43)  # a range that has much worse configurations


@dataclass(frozen=True)
class Design:
    """The protocol of a sweep. `spread` starts the search with Sobol points, not random ones."""

    searches: int
    trials: int
    confirm: int
    seeds: int
    spread: bool = True


def sweep(
    network: Network,
    design: Design,
    advantages: np.ndarray,
    rng: np.random.Generator,
    factors: np.ndarray | None = None,
) -> np.ndarray:
    """Return the accuracies of the final runs, shape (schedulers, searches, seeds), in points.

    `advantages`, shape (schedulers,), are the true differences of the schedulers at their best.
    `factors` multiply the loss and the noise of each scheduler.
    """
    factors = np.ones(len(advantages)) if factors is None else factors
    common = np.sqrt(0.25) * rng.normal(size=(design.searches, design.seeds))
    runs = np.empty((len(advantages), design.searches, design.seeds))
    for search in range(design.searches):
        loss = factors[:, None] * _losses(network, design, len(advantages), rng)
        chosen = choice(loss, network.validation * factors[:, None], design.confirm, rng)
        own = np.sqrt(0.75) * rng.normal(size=(len(advantages), design.seeds))
        noise = network.seed * factors[:, None] * (common[search] + own)
        runs[:, search] = advantages[:, None] - chosen[:, None] + noise
    return runs


def _losses(network: Network, design: Design, schedulers: int, rng: np.random.Generator) -> np.ndarray:
    """Return the losses of a search's trials, shape (schedulers, trials), the default first."""
    places = rng.random((schedulers, design.trials, 2))
    if design.spread:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the number of trials is not a power of two
            places[:] = qmc.Sobol(2, rng=rng).random(design.trials)  # the same for all schedulers
    places[:, 0] = DEFAULT
    squares = (places - BEST) ** 2 @ np.array([1.6, 0.4])  # the peak rate matters most
    return np.asarray(network.loss * squares / 0.19)  # 0.19: the mean for random configurations


def choice(loss: np.ndarray, noise: np.ndarray, confirm: int, rng: np.random.Generator) -> np.ndarray:
    """Return the loss of the chosen trials, shape (schedulers,).

    `noise` is the standard deviation of a validation accuracy, shape (schedulers, 1).
    """
    scores = -loss + noise * rng.normal(size=loss.shape)
    if confirm:
        top = np.argsort(-scores, axis=1)[:, :confirm]
        again = -loss + noise * rng.normal(size=loss.shape)
        means = np.full_like(scores, -np.inf)
        np.put_along_axis(means, top, np.take_along_axis((scores + again) / 2, top, axis=1), axis=1)
        scores = means
    return np.asarray(np.take_along_axis(loss, scores.argmax(axis=1)[:, None], axis=1)[:, 0])


def claims(runs: np.ndarray) -> np.ndarray:
    """Return the pairs that a report claims to differ, shape (schedulers, schedulers)."""
    schedulers, searches, _ = runs.shape
    pairs = list(itertools.combinations(range(schedulers), 2))
    if searches > 1:
        values = [dict(enumerate(row)) for row in runs.mean(axis=2).tolist()]
        layout = compare_by_search(values)
        tests = holm_tests([layout.estimates[pair] for pair in pairs], needed=MIN_SEARCHES)
    else:
        tests = holm_tests([paired_estimate(runs[first, 0] - runs[second, 0]) for first, second in pairs])
    claimed = np.zeros((schedulers, schedulers), dtype=bool)
    for (first, second), test in zip(pairs, tests, strict=True):
        claimed[first, second] = claimed[second, first] = test.significant
    return claimed


def false_claims(
    network: Network, design: Design, schedulers: int, repeats: int, seed: int = 0, noisy: float = 1.0
) -> float:
    """Return the share of sweeps of equal schedulers that claim a difference.

    The first scheduler scatters `noisy` times as much as the others, about the same mean.
    """
    rng, count = np.random.default_rng(seed), 0
    factors = np.array([noisy, *np.ones(schedulers - 1)])
    mean_loss = np.mean([sweep(network, design, np.zeros(2), rng).mean() for _ in range(500)]) if noisy != 1 else 0.0
    advantages = (factors - 1) * -mean_loss  # so that the noisy scheduler, once tuned, is as good as the others
    for _ in range(repeats):
        count += bool(claims(sweep(network, design, advantages, rng, factors)).any())
    return count / repeats


def power(network: Network, design: Design, schedulers: int, repeats: int, seed: int = 0, points: float = 1.0) -> float:
    """Return the share of differences that are found, if half of the schedulers are better."""
    rng = np.random.default_rng(seed)
    better = np.arange(schedulers) < schedulers // 2
    found = [claims(sweep(network, design, points * better, rng))[np.ix_(better, ~better)] for _ in range(repeats)]
    return float(np.mean(found))


def loss_of_choice(network: Network, design: Design, repeats: int, seed: int = 0) -> float:
    """Return the mean of what a chosen configuration loses against its scheduler's best."""
    rng = np.random.default_rng(seed)
    return -float(
        np.mean([sweep(network, replace(design, searches=1), np.zeros(20), rng).mean() for _ in range(repeats)])
    )


def main() -> None:
    """Simulate sweeps of several designs, and write what they claim and what their choices lose."""
    parser = argparse.ArgumentParser(prog="scripts/bench claims", description=main.__doc__)
    parser.add_argument("--repeats", type=int, default=400, help="simulated sweeps for each figure (default: 400)")
    repeats = parser.parse_args().repeats
    rows = [*_claims(repeats), *_claims_with_a_noisy_scheduler(repeats), *_losses_of_choices(repeats)]
    record.keep("claims", {"repeats": repeats, "figures": rows})


Figures = dict[str, str | int | float]


def _claims(repeats: int) -> Iterator[Figures]:
    """Yield the claims of designs with the same number of runs, except the first."""
    one_search = Design(1, 12, 0, 8)
    designs = (one_search, Design(2, 13, 3, 4), Design(4, 5, 3, 2), Design(8, 4, 0, 1), Design(4, 3, 0, 1))
    for (name, network), design, count in itertools.product(NETWORKS.items(), designs, (3, 9, 20)):
        found = {
            "false claims": round(false_claims(network, design, count, repeats), 3),
            "one point found": round(power(network, design, count, repeats // 4), 2),
        }
        yield _shown({"network": name, **asdict(design), "schedulers": count, **found})


def _claims_with_a_noisy_scheduler(repeats: int) -> Iterator[Figures]:
    """Yield the claims if the first of nine schedulers scatters more."""
    design = Design(4, 5, 3, 2)
    for (name, network), noisy in itertools.product(NETWORKS.items(), (3.0, 5.0)):
        found = {"false claims": round(false_claims(network, design, 9, repeats, noisy=noisy), 3)}
        yield _shown({"network": name, **asdict(design), "schedulers": 9, "scatter of the first": noisy, **found})


def _losses_of_choices(repeats: int) -> Iterator[Figures]:
    """Yield what the choice of eight runs loses, with and without each part of the protocol."""
    parts = itertools.product({**NETWORKS, "wide range": WIDE}.items(), ((8, 0), (5, 3)), (False, True))
    for (name, network), (trials, confirm), spread in parts:
        design = Design(1, trials, confirm, 1, spread)
        found = {"loss of the choice": round(loss_of_choice(network, design, repeats), 3)}
        yield _shown({"network": name, **asdict(design), **found})


def _shown(figures: Figures) -> Figures:
    print(figures, flush=True)
    return figures


if __name__ == "__main__":
    main()
