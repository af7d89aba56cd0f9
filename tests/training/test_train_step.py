"""The train step on the CPU, and its CUDA graph on machines with a GPU."""

from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lrbench.data.batches import Normalize
from lrbench.schedules.table import start_schedule
from lrbench.training import trainer
from lrbench.training.device import resolve_device
from lrbench.training.run_cache import RunCache
from lrbench.training.throughput import measure_throughput
from lrbench.training.train import train_one
from lrbench.training.train_step import GRADIENT_TOLERANCE, StepSignature, TrainStep
from lrbench.training.trainer import Trainer, build_network
from tests.conftest import Spec

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


def test_gradients_are_those_of_the_last_batch(spec: Spec) -> None:
    run = spec("train.precision=float32")
    data = RunCache().dataset(run.data, CPU)
    step = TrainStep(StepSignature.of(run), build_network(run, data))
    images, labels = Normalize(data, CPU)(data.train.images[:32]), data.train.labels[:32]
    assert float(step(images, labels)) == pytest.approx(float(step(images, labels)), rel=1e-6)
    gradients = step._gradients()
    step(images.flip(0), labels.roll(1))
    step(images, labels)
    torch.testing.assert_close(step._gradients(), gradients)


class Transfers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records each operation that has tensors on more than one device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        devices = {value.device for value in tree_leaves((args, kwargs, out)) if isinstance(value, Tensor)}
        if len(devices) > 1:
            self.operations.append(str(func))
        return out


def unfused(init: Callable[..., None]) -> Callable[..., None]:
    """Builds an optimizer without its fused kernels, which the meta device lacks."""
    return lambda *args, **options: init(*args, **{**options, "fused": False})


@pytest.mark.parametrize(
    "overrides",
    [["scheduler=one_cycle"], ["optimizer=adamw"], ["optimizer=muon"], ["scheduler=schedule_free"], ["model=resnet20"]],
)
def test_within_an_epoch_nothing_waits_for_the_device(
    spec: Spec, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    run = spec("train.precision=float32", "train.epochs=1", *overrides)
    net = build_network(run, RunCache().dataset(run.data, CPU))
    monkeypatch.setattr(trainer, "build_network", lambda spec, dataset: net)
    for optimizer in (torch.optim.SGD, torch.optim.AdamW):
        monkeypatch.setattr(optimizer, "__init__", unfused(optimizer.__init__))
    # Tensors on the meta device have no numbers, so an operation that reads one raises an error. A
    # GPU would have to wait for such an operation.
    on_meta = Trainer(run.model_copy(update={"device": "meta"}), RunCache())
    schedule, batches = start_schedule(run), on_meta.batches()
    first = next(batches)  # the order and the shifts of the epoch go to the device here
    with Transfers() as transfers:
        losses = [on_meta.step(*first)]
        for step, batch in enumerate(batches, 1):
            on_meta.set_rate(schedule, step)
            losses.append(on_meta.step(*batch))
    assert len(losses) == run.train.total_steps
    assert all(loss.is_meta for loss in losses)
    assert not transfers.operations


class RecordedGraph(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Stands in for a CUDA graph: it records operations, and repeats them into the same tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, out))
        return out

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, recorded in self.operations:
            for old, new in zip(tree_leaves(recorded), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():  # views are written already
                    old.copy_(new)


@pytest.fixture
def recorded_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a train step capture on the CPU."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph)
    for name in ("Stream", "stream", "current_stream", "device"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())


@pytest.mark.usefixtures("recorded_graphs")
@pytest.mark.parametrize("overrides", [[], ["model=resnet20", "model.args.width=4"]])
def test_an_eager_pass_does_not_detach_the_gradients_of_a_graph(spec: Spec, overrides: list[str]) -> None:
    run = spec("train.precision=float32", *overrides)
    data = RunCache().dataset(run.data, CPU)
    step = TrainStep(StepSignature.of(run), build_network(run, data))
    step._may_capture = True
    for start in (0, 32, 64):
        images = Normalize(data, CPU)(data.train.images[start : start + 32])
        labels = data.train.labels[start : start + 32]
        loss, gradients = step(images, labels), step._gradients()
        assert step._graph
        torch.testing.assert_close(step.eager(images, labels), loss)
        torch.testing.assert_close(step._gradients(), gradients)
    assert step.captures == 1


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("overrides", [["train.precision=float32"], ["train.precision=bfloat16"], ["model=resnet20"]])
def test_the_graph_reproduces_the_eager_pass(spec: Spec, overrides: list[str]) -> None:
    run = spec("device=cuda:0", *overrides)
    data = RunCache().dataset(run.data, GPU)
    step = TrainStep(StepSignature.of(run), build_network(run, data))
    for start in (0, 32):
        images = Normalize(data, GPU)(data.train.images[start : start + 32])
        labels = data.train.labels[start : start + 32]
        loss, gradients = step(images, labels), step._gradients()
        assert step._graph
        torch.testing.assert_close(step.eager(images, labels), loss, rtol=1e-2, atol=1e-3)
        assert float((step._gradients() - gradients).norm() / gradients.norm()) < GRADIENT_TOLERANCE


@pytest.mark.gpu
@gpu
def test_one_graph_serves_all_runs(spec: Spec) -> None:
    run_cache = RunCache()
    for overrides in ([], ["scheduler=one_cycle"], ["optimizer=adamw"], ["train.epochs=3", "seed=4"]):
        train_one(spec("device=cuda:0", *overrides), run_cache=run_cache)
    run = spec("device=cuda:0").resolved(resolve_device("cuda:0"))
    step = run_cache.train_step(run, build_network(run, run_cache.dataset(run.data, GPU)))
    assert step.captures == 1
    assert step._graph
    other = spec("device=cuda:0", "train.batch_size=16").resolved(resolve_device("cuda:0"))
    assert run_cache.train_step(other, build_network(other, run_cache.dataset(other.data, GPU))) is not step


@pytest.mark.gpu
@gpu
def test_the_throughput_of_a_gpu(spec: Spec) -> None:
    """The blank images must be on the GPU, like the network."""
    throughput = measure_throughput(spec("device=cuda:0").resolved(resolve_device("cuda:0")))
    assert throughput.step > 0
    assert throughput.image > 0


class Restless(nn.Module):
    """Its gradients are larger at each call, which a graph cannot reproduce."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.calls = nn.Parameter(torch.ones(3, 10)), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.mean((2, 3)) @ self.weight * self.calls


@pytest.mark.gpu
@gpu
def test_a_network_that_a_graph_cannot_reproduce_stays_eager(spec: Spec) -> None:
    run = spec("device=cuda:0", "train.precision=float32")
    data = RunCache().dataset(run.data, GPU)
    step = TrainStep(StepSignature.of(run), Restless())
    step(Normalize(data, GPU)(data.train.images[:32]), data.train.labels[:32])
    assert not step._graph
    assert step.captures == 1
    step(Normalize(data, GPU)(data.train.images[:32]), data.train.labels[:32])
    assert step.captures == 1  # it does not try again
