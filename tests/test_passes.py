"""The pass that runs share, on the CPU; and its CUDA graph, where there is a GPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lrbench import data, device, loop, passes, schedules, trainer
from lrbench.spec import TrialSpec

Spec = Callable[..., TrialSpec]
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


@pytest.fixture(autouse=True)
def none_kept() -> None:
    passes._kept.cache_clear()


def test_a_run_after_others_is_as_a_run_alone(spec: Spec) -> None:
    run = spec("optimizer.lr=0.3")
    alone = loop.train_one(run).without_times()
    for other in (["seed=9"], ["scheduler=one_cycle", "train.epochs=3"], ["optimizer=adamw"], ["optimizer=muon"], ["optimizer.lr=1e30"]):
        loop.train_one(spec("optimizer.search.lr.high=1e31", *other))
    assert loop.train_one(run).without_times() == alone


def test_runs_of_one_form_share_a_network_and_others_do_not(spec: Spec) -> None:
    def net(*overrides: str) -> nn.Module:
        run = spec("train.precision=float32", *overrides)
        return passes.begun(run, trainer.network(run, data.load(run.data, torch.device("cpu")))).net

    first = net()
    assert net("scheduler=rex", "seed=5", "optimizer=adamw", "train.epochs=3", "optimizer.weight_decay=0") is first
    assert net("model.args.activation=silu") is not first
    assert net("train.batch_size=16") is not net("train.label_smoothing=0.1")


def test_gradients_are_those_of_the_last_batch(spec: Spec) -> None:
    run = spec("train.precision=float32")
    dataset = data.load(run.data, torch.device("cpu"))
    made = passes.begun(run, trainer.network(run, dataset))
    images, labels = data.Normalize(torch.device("cpu"))(dataset.train.images[:32]), dataset.train.labels[:32]
    assert float(made(images, labels)) == pytest.approx(float(made(images, labels)), rel=1e-6)
    gradients = made._gradients()
    made(images.flip(0), labels.roll(1))
    made(images, labels)
    torch.testing.assert_close(made._gradients(), gradients)


class Transfers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes each operation that has tensors on more than one device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        places = {value.device for value in tree_leaves((args, kwargs, out)) if isinstance(value, Tensor)}
        if len(places) > 1:
            self.found.append(str(func))
        return out


def unfused(init: Callable[..., None]) -> Callable[..., None]:
    """Makes an optimizer without its fused kernels, which are not for the meta device."""
    return lambda *args, **options: init(*args, **{**options, "fused": False})


@pytest.mark.parametrize(
    "overrides", [["scheduler=one_cycle"], ["optimizer=adamw"], ["optimizer=muon"], ["scheduler=schedule_free"], ["model=resnet20"]]
)
def test_within_an_epoch_nothing_waits_for_the_device(spec: Spec, monkeypatch: pytest.MonkeyPatch, overrides: list[str]) -> None:
    run = spec("train.precision=float32", "train.epochs=1", *overrides)
    net = trainer.network(run, data.load(run.data, torch.device("cpu")))
    monkeypatch.setattr(trainer, "network", lambda spec, dataset: net)
    for optimizer in (torch.optim.SGD, torch.optim.AdamW):
        monkeypatch.setattr(optimizer, "__init__", unfused(optimizer.__init__))
    # The tensors of the meta device have no numbers: what wants to read one, or to choose by one, is an error.
    on_meta = trainer.Trainer(run.model_copy(update={"device": "meta"}), data.load(run.data, torch.device("meta")))
    schedule, batches = schedules.start(run), on_meta.batches()
    first = next(batches)  # the order and the shifts of the epoch go to the device here
    with Transfers() as transfers:
        losses = [on_meta.step(*first)]
        for step, batch in enumerate(batches, 1):
            on_meta.set_rate(schedule, step)
            losses.append(on_meta.step(*batch))
    assert len(losses) == run.train.total_steps
    assert all(loss.is_meta for loss in losses)
    assert not transfers.found


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("overrides", [["train.precision=float32"], ["train.precision=bfloat16"], ["model=resnet20"]])
def test_the_graph_repeats_the_pass(spec: Spec, overrides: list[str]) -> None:
    run = spec("device=cuda:0", *overrides)
    place = torch.device("cuda:0")
    dataset = data.load(run.data, place)
    made = passes.begun(run, trainer.network(run, dataset))
    for start in (0, 32):
        images, labels = data.Normalize(place)(dataset.train.images[start : start + 32]), dataset.train.labels[start : start + 32]
        loss, gradients = made(images, labels), made._gradients()
        assert made._graph
        torch.testing.assert_close(made.eager(images, labels), loss, rtol=1e-2, atol=1e-3)
        assert float((made._gradients() - gradients).norm() / gradients.norm()) < passes.SAME


@pytest.mark.gpu
@gpu
def test_one_graph_serves_all_runs(spec: Spec) -> None:
    first = spec("device=cuda:0")
    loop.train_one(first)
    for overrides in (["scheduler=one_cycle"], ["optimizer=adamw"], ["train.epochs=3", "seed=4"]):
        loop.train_one(spec("device=cuda:0", *overrides))
    assert passes._kept(passes.Form.of(first.settled(device.machine("cuda:0")))).captures == 1


class Restless(nn.Module):
    """Adds another number to its weights' gradients each time, which a graph does not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.calls = nn.Parameter(torch.ones(3, 10)), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.mean((2, 3)) @ self.weight * self.calls


@pytest.mark.gpu
@gpu
def test_a_network_that_a_graph_would_freeze_gets_none(spec: Spec) -> None:
    run = spec("device=cuda:0", "train.precision=float32")
    dataset = data.load(run.data, torch.device("cuda:0"))
    made = passes.begun(run, Restless())
    made(data.Normalize(torch.device("cuda:0"))(dataset.train.images[:32]), dataset.train.labels[:32])
    assert not made._graph
