"""The time of several runs as one, compared with the same runs one after the other.

The weights of the runs are stacked, and the network is mapped over them. Their learning rates are a
table (runs, steps) on the device.
"""

import argparse
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from lrbench.schedules.table import start_schedule
from lrbench.spec import TrialSpec
from lrbench.training.device import resolve_device
from lrbench.training.run_cache import RunCache
from lrbench.training.train import train_one
from lrbench.training.trainer import Trainer
from scripts.benchmarks import gpu, record

Tensors = dict[str, Tensor]


class Fused:
    """Runs of SGD that differ only in their learning rates, so they share their batches too.

    On a GPU, a step is one CUDA graph.
    """

    state: Tensors  # weights, momenta and statistics of all runs, and the number of the step

    def __init__(self, specs: list[TrialSpec]) -> None:
        self.spec = specs[0].resolved(resolve_device(specs[0].device))
        self.device = torch.device(self.spec.device)
        self.run_cache = RunCache()
        tables = [start_schedule(spec) for spec in specs]
        steps = range(self.spec.train.total_steps)
        self.rates = torch.tensor([[table.rate(step) for step in steps] for table in tables], device=self.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self.state = {}
        self._reset()

    def _reset(self) -> None:
        """Put the runs at their first step, in place: a graph knows its tensors by address."""
        self.run = Trainer(self.spec, self.run_cache)
        net, runs = self.run.net.train(), len(self.rates)
        trained = {name: weight.detach() for name, weight in net.named_parameters() if weight.requires_grad}
        buffers = dict(net.named_buffers())
        state = {name: value.expand(runs, *value.shape).clone() for name, value in {**trained, **buffers}.items()}
        state |= {f"momentum of {name}": torch.zeros_like(state[name]) for name in trained}
        state["step"] = torch.zeros(1, dtype=torch.int64, device=self.device)
        for name, value in state.items():
            self.state.setdefault(name, value).copy_(value)
        self.weights = {name: self.state[name] for name in trained}
        self.statistics = {name: self.state[name] for name in buffers}
        named = {weight: name for name, weight in net.named_parameters()}
        self.groups = {
            named[weight]: group for group in self.run.torch_optimizers.parameter_groups() for weight in group["params"]
        }

    def train(self) -> list[float]:
        """Train all runs from their first step, and return their test accuracies."""
        self._reset()
        for images, labels in self.run.batches():
            if self.device.type != "cuda":
                self.step(images, labels)
                continue
            graph = self._graph = self._graph or self._capture(images, labels)
            self._images.copy_(images)
            self._labels.copy_(labels)
            graph.replay()
        return [self._accuracy(number) for number in range(len(self.rates))]

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Make a step of every run, and return the losses: shape (runs,)."""

        def loss_of(weights: Tensors, statistics: Tensors) -> Tensor:
            with self.run.train_step.autocast():
                outputs = functional_call(self.run.net, {**weights, **statistics}, (images,))
            return F.cross_entropy(outputs.float(), labels, label_smoothing=self.spec.train.label_smoothing)

        gradients, losses = vmap(grad_and_value(loss_of))(self.weights, self.statistics)
        rates = self.rates.index_select(1, self.state["step"])[:, 0]
        for name, weight in self.weights.items():
            group, momentum = self.groups[name], self.state[f"momentum of {name}"]
            gradient = gradients[name] + group["weight_decay"] * weight
            momentum.mul_(group["momentum"]).add_(gradient)
            direction = gradient + group["momentum"] * momentum if group["nesterov"] else momentum
            weight.sub_(group["lr_factor"] * rates.view(-1, *(1 for _ in weight.shape[1:])) * direction)
        self.state["step"] += 1
        return losses  # type: ignore[no-any-return]

    def _capture(self, images: Tensor, labels: Tensor) -> torch.cuda.CUDAGraph:
        """Return a step as a graph. The state of the runs does not change."""
        before = {name: value.clone() for name, value in self.state.items()}
        self._images, self._labels = images.clone(), labels.clone()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step(self._images, self._labels)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step(self._images, self._labels)
        for name, value in before.items():
            self.state[name].copy_(value)
        return graph

    def _accuracy(self, number: int) -> float:
        """Return the test accuracy of a run."""
        state = {name: self.state[name][number] for name in (*self.weights, *self.statistics)}
        self.run.net.load_state_dict(state, strict=False)
        return self.run.evaluate(self.run.data.test)[1]


def measure(overrides: list[str], at_once: int, rounds: int) -> dict[str, Any]:
    """Return the seconds per run in both ways, for runs with the same seed."""
    with gpu.configs():
        runs = [spec.model_copy(update={"seed": 1}) for spec in gpu.specs(overrides, at_once)]
        by_kernel = gpu.specs([*overrides, "train.graph=off"], at_once)
    fused = Fused([spec.model_copy(update={"seed": 1}) for spec in by_kernel])
    run_cache = RunCache()
    train_one(runs[0], run_cache=run_cache)  # a warm-up of both ways, which is not counted
    fused.train()
    seconds, accuracies = {"apart": 0.0, "fused": 0.0}, {}
    for _ in range(rounds):
        started = time.perf_counter()
        accuracies["apart"] = [train_one(spec, run_cache=run_cache).last("test/accuracy") for spec in runs]
        between = time.perf_counter()
        accuracies["fused"] = fused.train()
        seconds["apart"] += between - started
        seconds["fused"] += time.perf_counter() - between
    per_run = {f"seconds a run, {way}": round(total / rounds / at_once, 3) for way, total in seconds.items()}
    scores = {f"test accuracies, {way}": [round(value, 4) for value in values] for way, values in accuracies.items()}
    return {**per_run, "fused is faster by": round(seconds["apart"] / seconds["fused"], 2), **scores}


def main() -> None:
    """Train runs of one seed as one, and one after the other, and print the seconds per run.

    The setting is airbench94's, with networks of several widths.
    """
    parser = argparse.ArgumentParser(prog="scripts/bench fused", description=main.__doc__)
    parser.add_argument("--widths", default="1,0.5,0.25", help="of the network (1,0.5,0.25)")
    parser.add_argument("--at-once", default="2,4,8", help="runs in one (2,4,8)")
    parser.add_argument("--rounds", type=int, default=2, help="trainings of each (2)")
    parser.add_argument("overrides", nargs="*", default=[], help="changes to the setting, such as train.epochs=1")
    options = parser.parse_args()
    results = {}
    for width in options.widths.split(","):
        for at_once in map(int, options.at_once.split(",")):
            name = f"width {width}, {at_once} at once"
            results[name] = measure([f"model.args.width={width}", *options.overrides], at_once, options.rounds)
            print(f"{name}: {results[name]}", flush=True)
    setting = [*gpu.SETTING, *options.overrides]
    record.keep("fused", {"GPU": gpu.gpu_name(), "setting": setting, "rounds": options.rounds, **results})


if __name__ == "__main__":
    main()
