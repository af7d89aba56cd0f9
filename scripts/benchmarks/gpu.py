"""The speed of training on one GPU, at the setting of airbench94, and whether it is right.

First it checks that the captured and the compiled step are the eager step. Then it measures the
seconds of a run in several ways, the slowest kernels, and airbench94 itself.
"""

import argparse
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from hydra import initialize_config_module

from lrbench.config.compose import load_config, parse_spec
from lrbench.schedules.table import start_schedule
from lrbench.spec import TrialSpec
from lrbench.training import trainer
from lrbench.training.device import resolve_device
from lrbench.training.run_cache import RunCache
from lrbench.training.train import train_one
from lrbench.training.trainer import Trainer
from scripts.benchmarks import record
from scripts.benchmarks.candidates import CANDIDATES

# airbench94 on all 50,000 images, scored once (Keller Jordan, cifar10-airbench).
SETTING = (
    "model=fast",
    "data.holdout_images=0",
    "data.train_images=null",
    "train.epochs=9.9",
    "train.batch_size=1024",
    "train.eval_epochs=10",
    "train.label_smoothing=0.2",
    "optimizer.lr=1.5",
    "optimizer.weight_decay=0.0013",
    "optimizer.bias_lr_factor=64",
    "optimizer.args.momentum=0.85",
)
KINDS = {
    "eager": ("train.graph=off", "train.compile=off"),
    "graph": ("train.compile=off",),
    "compiled-graph": ("train.compile=on",),
}
WIDTHS = {"full width": (), "quarter width": ("model.args.width=0.25",)}
# The shortest time of such a run: its FLOP at the speed of a large product, then its bytes at the
# speed of the memory.
RUN_FLOP, RUN_BYTES = 3.58e14, 1.67e12
FLOOR_SECONDS = {"H200": 0.80, "H100": 0.95}  # by name of the GPU: others are measured
ACCURACY_RUNS = 8
SLOWEST_KERNELS, PROFILED_STEPS = 15, 10


def configs() -> initialize_config_module:
    """Return the context in which `specs` finds lrbench's configs."""
    return initialize_config_module("lrbench.conf", version_base="1.3")


def specs(overrides: list[str], runs: int) -> list[TrialSpec]:
    """Return runs that differ in scheduler and seed. Call it inside `configs()`."""
    schedulers = ("one_cycle", "warmup_cosine", "cyclic", "warmup_linear")  # all need no lower peak
    different = [parse_spec(load_config("config", [*SETTING, *overrides, f"scheduler={name}"])) for name in schedulers]
    return [different[number % len(different)].model_copy(update={"seed": number}) for number in range(runs)]


@dataclass(frozen=True)
class Runs:
    """Runs of one process, one after the other. The first one is not counted: it compiles."""

    first_seconds: float
    start: float
    end: float
    accuracies: list[float]


def train(overrides: list[str], runs: int) -> Runs:
    """Train `runs` runs after one that is not counted."""
    with configs():
        warm_up, *counted = specs(overrides, runs + 1)
    run_cache = RunCache()
    run_cache.dataset(warm_up.data, torch.device(resolve_device(warm_up.device).device))
    loaded = time.time()
    train_one(warm_up, run_cache=run_cache)
    started = time.time()
    accuracies = [train_one(spec, run_cache=run_cache).last("test/accuracy") for spec in counted]
    return Runs(started - loaded, started, time.time(), accuracies)


def measure(overrides: list[str], runs: int, at_once: int, floor: float | None) -> dict[str, Any]:
    """Return the seconds a run of `at_once` processes that train `runs` runs each."""
    if at_once == 1:
        done = [train(overrides, runs)]
    else:
        with ProcessPoolExecutor(at_once, mp_context=multiprocessing.get_context("spawn")) as pool:
            done = [future.result() for future in [pool.submit(train, overrides, runs) for _ in range(at_once)]]
    # The mean over the processes, because they do not start and end together.
    seconds = statistics.mean(process.end - process.start for process in done) / (runs * at_once)
    scores = [score for process in done for score in process.accuracies]
    return {
        "seconds a run": round(seconds, 3),
        "runs an hour": round(3600 / seconds),
        "fraction of the floor": round(floor / seconds, 3) if floor else None,
        "seconds of the first run, with its compilation": round(max(process.first_seconds for process in done), 1),
        "test accuracies": [round(score, 4) for score in scores],
    }


def measure_candidate(name: str, overrides: list[str], runs: int, floor: float | None) -> dict[str, Any]:
    """Return the seconds a run of a network with one of CANDIDATES."""
    build = trainer.build_network
    trainer.build_network = lambda spec, data: CANDIDATES[name](build(spec, data))
    try:
        return measure(overrides, runs, 1, floor)
    finally:
        trainer.build_network = build


def losses(overrides: list[str], steps: int) -> list[float]:
    """Return the losses of the first steps of a run, one by one."""
    with configs():
        (spec,) = specs([*overrides, "scheduler=cosine", "optimizer.lr=0.1"], 1)
    spec = spec.resolved(resolve_device(spec.device))
    run = Trainer(spec, RunCache())
    return [float(loss) for _, (loss, _) in zip(range(steps), run.steps(start_schedule(spec)), strict=False)]


def step_differences(kind: str, overrides: list[str]) -> dict[str, float]:
    """Return the largest relative difference between the losses of a kind of step and eager steps.

    Training enlarges differences of rounding, so the first steps count.
    """
    steps = 12
    own, eager = (losses([*overrides, *KINDS[name]], steps) for name in (kind, "eager"))
    relative = [abs(one - other) / other for one, other in zip(own, eager, strict=True)]
    return {f"first {count} steps": float(f"{max(relative[:count]):.2g}") for count in (4, steps)}


def accuracy_difference(results: dict[str, Any], kind: str, width: str) -> dict[str, float]:
    """Return the mean accuracy of a kind minus the mean of eager runs, and its standard error."""
    own, eager = (results[f"{name}, {width}, 1 at once"]["test accuracies"] for name in (kind, "eager"))
    errors = [statistics.variance(scores) / len(scores) for scores in (own, eager)]
    return {
        "difference": round(statistics.mean(own) - statistics.mean(eager), 4),
        "standard error": round(sum(errors) ** 0.5, 4),
    }


def slowest_kernels(overrides: list[str]) -> dict[str, float]:
    """Return the microseconds of the slowest kernels of a step, the sum of their calls."""
    with configs():
        (spec,) = specs(overrides, 1)
    spec = spec.resolved(resolve_device(spec.device))
    run = Trainer(spec, RunCache())
    steps = run.steps(start_schedule(spec))
    for _ in range(3):
        next(steps)
    on_gpu = run.device.type == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    with torch.profiler.profile(activities=[activity]) as profile:
        timed = len([loss.item() for loss, _ in islice(steps, PROFILED_STEPS)])
    times = {
        event.key: (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / timed
        for event in profile.key_averages()
    }
    slowest = sorted(times, key=lambda name: -times[name])[:SLOWEST_KERNELS]
    return {"all": round(sum(times.values()), 1)} | {name[:100]: round(times[name], 1) for name in slowest}


def floor_seconds() -> float | None:
    """Return the shortest time of a run on this GPU at full width, None on a CPU."""
    if not torch.cuda.is_available():
        return None
    for name, seconds in FLOOR_SECONDS.items():
        if name in gpu_name():
            return seconds
    matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    numbers = torch.zeros(2**28, device="cuda")
    copy = torch.empty_like(numbers)
    product_seconds = _seconds(lambda: matrix @ matrix)
    copy_seconds = _seconds(lambda: copy.copy_(numbers))
    flop, moved = 2 * 8192**3, 2 * numbers.numel() * numbers.element_size()
    return RUN_FLOP * product_seconds / flop + RUN_BYTES * copy_seconds / moved


def _seconds(function: Callable[[], object], repeats: int = 10) -> float:
    function()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(repeats):
        function()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / repeats


def airbench(path: Path) -> dict[str, Any]:
    """Return the times and accuracies that airbench94 prints, without its first run."""
    with configs():
        (run,) = specs([], 1)
    dataset = RunCache().dataset(run.data, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "cifar10"  # it looks here before it downloads
        cache.mkdir()
        for name, split in (("train", dataset.train), ("test", dataset.test)):
            content = {"images": split.images, "labels": split.labels, "classes": list(range(dataset.classes))}
            torch.save(content, cache / f"{name}.pt")
        done = subprocess.run([sys.executable, path.absolute()], cwd=folder, capture_output=True, text=True, check=True)
    times = re.findall(r"\|\s+eval\s+\|.*\|\s*([\d.]+)\s*\|$", done.stdout, re.MULTILINE)
    seconds = statistics.median(float(time) for time in times[1:])
    return {
        "seconds a run": round(seconds, 3),
        "runs an hour": round(3600 / seconds),
        "says": done.stdout.strip().splitlines()[-2],
    }


def gpu_name() -> str:
    """Return the name of the GPU for a record."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


class Measurements:
    """Measurements in the order of their importance, written one by one, until a deadline."""

    def __init__(self, head: dict[str, Any], folder: Path | None, minutes: float) -> None:
        self.results: dict[str, Any] = {}
        self._head, self._folder, self._deadline = head, folder, time.monotonic() + 60 * minutes

    def add(self, name: str, seconds: float, function: Callable[[], object]) -> None:
        """Do a measurement that takes about `seconds`, if there is time.

        A failure is a result too.
        """
        if time.monotonic() + seconds > self._deadline:
            self.results[name] = "left out, because the time was over"
        else:
            try:
                self.results[name] = function()
            except Exception as error:  # the measurements after it may still succeed
                self.results[name] = f"failed: {type(error).__name__}: {error}"
        record.keep("gpu", {**self._head, **self.results}, self._folder)
        print(f"{name}: {self.results[name]}", flush=True)


def compile_in_the_background(overrides: list[str]) -> tuple[ProcessPoolExecutor, "Future[Runs]"]:
    """Start a process that fills the cache of compiled code, and return the future of its end."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    return pool, pool.submit(train, overrides, 0)


def measure_all(todo: Measurements, options: argparse.Namespace, kinds: list[str], floor: float | None) -> None:
    """Do the measurements in the order of their importance."""
    overrides, runs = options.overrides, options.runs
    compiles = "compiled-graph" in kinds
    if compiles:
        pool, compiled = compile_in_the_background([*overrides, *KINDS["compiled-graph"]])
    for precision in ("float32", "bfloat16"):
        name = f"losses of the graph and of eager steps, relative difference in {precision}"
        todo.add(name, 10, partial(step_differences, "graph", [*overrides, f"train.precision={precision}"]))
    if compiles:  # no clock runs before it has ended, because it would disturb
        todo.add("seconds of the first compilation", 0, lambda: round(compiled.result().first_seconds, 1))
        pool.shutdown()
        name = "losses of the compiled graph and of eager steps, relative difference"
        todo.add(name, 40, lambda: step_differences("compiled-graph", overrides))
    for width, narrower in WIDTHS.items():
        for kind in reversed(kinds):
            chosen = [*overrides, *narrower, *KINDS[kind]]
            own_floor = floor if width == "full width" else None
            name = f"{kind}, {width}, 1 at once"
            todo.add(name, 30, partial(measure, chosen, runs, 1, own_floor))
        for kind in [kind for kind in kinds if kind != "eager" and "eager" in kinds]:
            name = f"accuracy of {kind} minus eager, {width}"
            todo.add(name, 0, partial(accuracy_difference, todo.results, kind, width))
        if width == "full width":
            if options.airbench:
                todo.add("airbench94.py", 60, lambda: airbench(options.airbench))
            for kind in reversed(kinds):
                chosen = [*overrides, *KINDS[kind]]
                todo.add(f"slowest kernels of a step, {kind}, µs", 30, partial(slowest_kernels, chosen))
            for candidate in CANDIDATES:
                chosen = [*overrides, *KINDS[kinds[-1]]]
                name = f"{kinds[-1]}, {candidate}"
                todo.add(name, 60, partial(measure_candidate, candidate, chosen, runs, floor))
    for width, narrower in reversed(WIDTHS.items()):
        for at_once in map(int, options.at_once.split(",")):
            if at_once > 1:
                chosen = [*overrides, *narrower, *KINDS[kinds[-1]]]
                name = f"{kinds[-1]}, {width}, {at_once} at once"
                todo.add(name, 40, partial(measure, chosen, runs, at_once, None))


def main() -> None:
    """Check and time training at airbench94's setting, in several ways.

    The most important measurements come first. Each is written as soon as it is made.
    """
    parser = argparse.ArgumentParser(prog="scripts/bench gpu", description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="leave out what does not fit into this time (10)")
    parser.add_argument("--runs", type=int, default=ACCURACY_RUNS, help=f"counted runs of a process ({ACCURACY_RUNS})")
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"ways to train ({','.join(KINDS)})")
    parser.add_argument("--at-once", default="1,2,3,4", help="processes at once (1,2,3,4)")
    parser.add_argument("--airbench", type=Path, help="path of airbench94.py, to time it too")
    parser.add_argument("--out", type=Path, help="folder of the figures (scripts/bench_results/MACHINE)")
    parser.add_argument("overrides", nargs="*", default=[], help="changes to the setting, such as model.args.width=0.5")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    if unknown := sorted(set(kinds) - set(KINDS)):
        parser.error(f"--kinds={','.join(unknown)}: must be of {', '.join(KINDS)}")
    floor = floor_seconds()
    head = {
        "GPU": gpu_name(),
        "setting": [*SETTING, *options.overrides],
        "counted runs of each process": options.runs,
        "floor of the hardware at full width, seconds a run": floor and round(floor, 3),
    }
    measure_all(Measurements(head, options.out, options.minutes), options, kinds, floor)


if __name__ == "__main__":
    main()
