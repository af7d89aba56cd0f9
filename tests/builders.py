"""Artificial results for tests, so that a reader can check every number of a report by hand."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import yaml

from lrbench.config.compose import load_config, parse_spec
from lrbench.orchestration.plan import FIRST_FINAL_SEED, SEEDS_PER_SEARCH
from lrbench.results.files import write_result
from lrbench.results.result import Curve, TrialResult
from lrbench.spec import NEIGHBOURS, Phase

Run = Callable[..., TrialResult]


def run_builder(small: Sequence[str]) -> Run:
    """Return a function that makes a run with the given validation and test accuracies.

    Each is a value per evaluation.
    """
    base = parse_spec(load_config("config", [*small, "scheduler=cosine", "train.epochs=4"]))

    def make_run(
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
        spec = base.model_copy(
            update={
                "scheduler": base.scheduler.model_copy(update={"name": name}),
                "optimizer": base.optimizer.model_copy(update={"lr": lr}),
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
            curves={key: curve_of(values) for key, values in curves.items() if values},
            train_seconds=8.0,
            eval_seconds=1.0,
            environment={"device": "abacus", "torch": "2.15", "python": "3.11", "platform": "wood"},
        )

    return make_run


def without_times(result: TrialResult) -> dict[str, object]:
    """Return the part that a repeat on the same kind of CPU must reproduce bit by bit."""
    curves = {name: (curve.steps, curve.values) for name, curve in result.curves.items()}
    return {"spec": result.spec, "state": result.state, "reason": result.reason, "curves": curves}


def curve_of(values: Sequence[float]) -> Curve:
    """Return a curve over 80 steps, which are four epochs of 20."""
    steps = [round(80 * (place + 1) / len(values)) for place in range(len(values))]
    if len(values) == 80:
        steps = list(range(80))  # of the learning rate, which has the step before each update
    return Curve(steps=steps, values=list(values), times=[1_800_000_000_000] * len(values))


def sweep_of(run: Run, accuracies: Mapping[str, Sequence[float]]) -> list[TrialResult]:
    """Return a search of two trials per scheduler, and final runs with these test accuracies.

    The search chooses the second trial.
    """
    results = []
    for name, values in accuracies.items():
        results += [run(name, "search", trial, 0, validation=[0.5 + 0.1 * trial]) for trial in (0, 1)]
        results += [run(name, seed=1000 + place, test=value) for place, value in enumerate(values)]
    return results


def repeats_of(
    run: Run, *sweeps: Mapping[str, Sequence[float]], seed_distance: int = 100
) -> dict[str, list[TrialResult]]:
    """Return sweeps with these test accuracies, with seeds `seed_distance` apart."""
    repeats = {}
    for number, accuracies in enumerate(sweeps):
        repeats[f"sweep {number}"] = [
            result.model_copy(update={"spec": result.spec.model_copy(update={"seed": seed})})
            for result in sweep_of(run, accuracies)
            for seed in [result.spec.seed + number * seed_distance]
        ]
    return repeats


SEEDS = (0.001, -0.002, 0.0, 0.003, -0.001, 0.002, -0.003, 0.0)  # added by each of eight seeds to every scheduler


def eight(mean: float, wobble: float = 0.0) -> list[float]:
    """Return accuracies of eight seeds with this mean. `wobble` is noise of one scheduler."""
    return [mean + shift + wobble * (-1) ** place for place, shift in enumerate(SEEDS)]


def sweep_folder(out: Path, results: Iterable[TrialResult], **settings: object) -> Path:
    """Return a sweep's folder with these results, and with these settings in its config.yaml."""
    scheduler = {
        "_target_": "there",
        "knobs": {"floor": 0.0},
        "args": {},
        "search": {"knobs": {"floor": {"low": 0.0, "high": 0.2}}},
    }
    config_file = {
        "name": "tiny",
        "seed": 0,
        "sampler": {"name": "tpe", "args": {"n_startup_trials": 5}},
        "optimizer": {"_target_": "here", "lr": 0.5, "search": {"lr": {"low": 0.05, "high": 2.0, "log": True}}},
        "scheduler": {result.spec.scheduler.name: scheduler for result in results},
        **settings,
    }
    folder = out / "tiny"
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config_file))
    for result in results:
        write_result(folder / "trials", result)
    return folder


def searches_of(
    run: Run,
    accuracies: Mapping[str, Sequence[Sequence[float]]],
    *,
    rates: Mapping[str, Sequence[float]] = MappingProxyType({}),
    confirmed: Mapping[int, float] = MappingProxyType({}),
    neighbours: Mapping[Phase, float] = MappingProxyType({}),
) -> list[TrialResult]:
    """Return several searches per scheduler, with the test accuracies of each search's final runs.

    Each search has two trials and chooses the second. Its seeds are 2,000 above the last search's.
    `rates` has the peak rates of the second trials, 0.5 if not given. `confirmed` has the
    validation accuracy of one more run of a trial, in every search. `neighbours` has changes of the
    test accuracy at other peak rates. Each is a run of every search, with its first final seed.
    """
    results = []
    for name, searches in accuracies.items():
        for number, values in enumerate(searches):
            first, rate = SEEDS_PER_SEARCH * number, rates[name][number] if name in rates else 0.5
            final = first + FIRST_FINAL_SEED
            found = [run(name, "search", 0, first, validation=[0.5])]
            found.append(run(name, "search", 1, first, validation=[0.6], lr=rate))
            found += [
                run(name, "confirm", trial, first + 1, validation=[value], lr=rate if trial else 0.5)
                for trial, value in confirmed.items()
            ]
            found += [run(name, seed=final + place, test=value, lr=rate) for place, value in enumerate(values)]
            found += [
                run(name, phase, seed=final, test=values[0] + change, lr=NEIGHBOURS[phase] * rate)
                for phase, change in neighbours.items()
            ]
            results += [in_search(result, number) for result in found]
    return results


def in_search(result: TrialResult, number: int) -> TrialResult:
    """Return a run as one of the search `number`."""
    return result.model_copy(update={"spec": result.spec.model_copy(update={"search": number})})
