"""Several runs as one: their weights stacked, the network mapped over them, their rates a table
[runs, steps] on the device.
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
from lrbench.training.resident import Resident
from lrbench.training.train import train_one
from lrbench.training.trainer import Trainer
from scripts.benchmarks import gpu, record

Tensors = dict[str, Tensor]


class Fused:
    """Runs of SGD that differ in nothing but their rates, so that they share batches too.

    On a GPU, a step is one CUDA graph.
    """

    state: Tensors  # weights, momenta and statistics of all runs, and the number of the step

    def __init__(self, specs: list[TrialSpec]) -> None:
        self.spec = specs[0].resolved(resolve_device(specs[0].device))
        self.device = torch.device(self.spec.device)
        self.resident = Resident()
        tables = [start_schedule(spec) for spec in specs]
        steps = range(self.spec.train.total_steps)
        self.rates = torch.tensor([[table.rate(step) for step in steps] for table in tables], device=self.device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._begin()

    def _begin(self) -> None:
        """Put the runs at their beginning, in place where they have been before."""
        self.run = Trainer(self.spec, self.resident)
        net, runs = self.run.net.train(), len(self.rates)
        trained = {name: weight.detach() for name, weight in net.named_parameters() if weight.requires_grad}
        buffers = dict(net.named_buffers())
        state = {name: value.expand(runs, *value.shape).clone() for name, value in {**trained, **buffers}.items()}
        state |= {f"momentum of {name}": torch.zeros_like(state[name]) for name in trained}
        state["step"] = torch.zeros(1, dtype=torch.int64, device=self.device)
        if hasattr(self, "state"):
            for name, value in state.items():
                self.state[name].copy_(value)
        else:
            self.state = state
        self.weights = {name: self.state[name] for name in trained}
        self.statistics = {name: self.state[name] for name in buffers}
        named = {weight: name for name, weight in net.named_parameters()}
        self.groups = {
            named[weight]: group for group in self.run.optimizers.parameter_groups() for weight in group["params"]
        }

    def train(self) -> list[float]:
        """Train all runs from the beginning, and return their test accuracies."""
        self._begin()
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
        """Make a step of every run, and return their losses (runs,)."""

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
        """Return a step as a graph; the runs are where they were."""
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
        own = {name: self.state[name][number] for name in (*self.weights, *self.statistics)}
        self.run.net.load_state_dict(own, strict=False)
        return self.run.evaluate(self.run.data.test)[1]


def measure(overrides: list[str], at_once: int, rounds: int) -> dict[str, Any]:
    """Return seconds a run, one after the other as the product trains them and as one, of runs with
    one seed.
    """
    runs = [spec.model_copy(update={"seed": 1}) for spec in gpu.specs(overrides, at_once)]
    fused = Fused(runs)
    train_one(runs[0])  # the first of each is not counted
    fused.train()
    seconds, accuracies = {"apart": 0.0, "fused": 0.0}, {}
    for _ in range(rounds):
        began = time.perf_counter()
        accuracies["apart"] = [train_one(spec).last("test/accuracy") for spec in runs]
        between = time.perf_counter()
        accuracies["fused"] = fused.train()
        seconds["apart"] += between - began
        seconds["fused"] += time.perf_counter() - between
    per_run = {f"seconds a run, {way}": round(total / rounds / at_once, 3) for way, total in seconds.items()}
    shown = {f"test accuracies, {way}": [round(score, 4) for score in found] for way, found in accuracies.items()}
    return {**per_run, "fused is faster by": round(seconds["apart"] / seconds["fused"], 2), **shown}


def main() -> None:
    """Train runs of one seed as one and one after the other, at airbench94's setting, at several
    widths; print seconds a run.
    """
    parser = argparse.ArgumentParser(prog="scripts/bench fused", description=main.__doc__)
    parser.add_argument("--widths", default="1,0.5,0.25", help="of the network (1,0.5,0.25)")
    parser.add_argument("--at-once", default="2,4,8", help="runs in one (2,4,8)")
    parser.add_argument("--rounds", type=int, default=2, help="times that each is trained (2)")
    parser.add_argument("overrides", nargs="*", default=[], help="changes to the setting, such as train.epochs=1")
    chosen = parser.parse_args()
    found = {}
    for width in chosen.widths.split(","):
        for at_once in map(int, chosen.at_once.split(",")):
            name = f"width {width}, {at_once} at once"
            found[name] = measure([f"model.args.width={width}", *chosen.overrides], at_once, chosen.rounds)
            print(f"{name}: {found[name]}", flush=True)
    gpu_name = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    record.keep(
        "fused", {"GPU": gpu_name, "setting": [*gpu.SETTING, *chosen.overrides], "rounds": chosen.rounds, **found}
    )


if __name__ == "__main__":
    main()
