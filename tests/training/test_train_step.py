"""The pass that runs share, on the CPU; and its CUDA graph, where there is a GPU."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lrbench.data.batches import Normalize
from lrbench.schedules.table import start_schedule
from lrbench.spec import TrialSpec
from lrbench.training import trainer
from lrbench.training.device import resolve_device
from lrbench.training.resident import Resident
from lrbench.training.train import train_one
from lrbench.training.train_step import GRADIENT_TOLERANCE, StepSignature, TrainStep
from lrbench.training.trainer import Trainer, build_network

Spec = Callable[..., TrialSpec]
CPU = torch.device("cpu")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")


def test_a_run_after_others_is_as_a_run_alone(spec: Spec) -> None:
    run, resident = spec("optimizer.lr=0.3"), Resident()
    alone = train_one(run).without_times()
    for other in (
        ["seed=9"],
        ["scheduler=one_cycle", "train.epochs=3"],
        ["optimizer=adamw"],
        ["optimizer=muon"],
        ["optimizer.lr=1e30"],
    ):
        train_one(spec("optimizer.search.lr.high=1e31", *other), resident=resident)
    assert train_one(run, resident=resident).without_times() == alone


def test_runs_with_one_signature_share_a_train_step(spec: Spec) -> None:
    resident = Resident()

    def step(*overrides: str) -> TrainStep:
        run = spec("train.precision=float32", *overrides)
        return resident.train_step(run, build_network(run, resident.dataset(run.data, CPU)))

    first, net = step(), step().net
    other = step("scheduler=rex", "seed=5", "optimizer=adamw", "train.epochs=3", "optimizer.weight_decay=0")
    assert other is first
    assert other.net is net
    assert step("model.args.activation=silu") is not first
    assert step("train.batch_size=16") is not step("train.label_smoothing=0.1")


def test_a_shared_step_has_the_weights_of_its_run(spec: Spec) -> None:
    resident, run = Resident(), spec("seed=5")
    first = resident.train_step(spec(), build_network(spec(), resident.dataset(run.data, CPU)))
    fresh = build_network(run, resident.dataset(run.data, CPU))
    wanted = {name: value.clone() for name, value in fresh.state_dict().items()}
    assert resident.train_step(run, fresh) is first
    torch.testing.assert_close(dict(first.net.state_dict()), wanted)


def test_the_last_two_data_sets_stay_loaded(spec: Spec) -> None:
    resident = Resident()
    search, final, other = (spec(f"data.train_images={images}").data for images in (100, 200, 300))
    first = resident.dataset(search, CPU)
    resident.dataset(final, CPU)
    assert resident.dataset(search, CPU) is first
    resident.dataset(other, CPU)
    resident.dataset(final, CPU)
    assert resident.dataset(search, CPU) is not first


def test_gradients_are_those_of_the_last_batch(spec: Spec) -> None:
    run = spec("train.precision=float32")
    data = Resident().dataset(run.data, CPU)
    step = TrainStep(StepSignature.of(run), build_network(run, data))
    images, labels = Normalize(data, CPU)(data.train.images[:32]), data.train.labels[:32]
    assert float(step(images, labels)) == pytest.approx(float(step(images, labels)), rel=1e-6)
    gradients = step._gradients()
    step(images.flip(0), labels.roll(1))
    step(images, labels)
    torch.testing.assert_close(step._gradients(), gradients)


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
    "overrides",
    [["scheduler=one_cycle"], ["optimizer=adamw"], ["optimizer=muon"], ["scheduler=schedule_free"], ["model=resnet20"]],
)
def test_within_an_epoch_nothing_waits_for_the_device(
    spec: Spec, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    run = spec("train.precision=float32", "train.epochs=1", *overrides)
    net = build_network(run, Resident().dataset(run.data, CPU))
    monkeypatch.setattr(trainer, "build_network", lambda spec, dataset: net)
    for optimizer in (torch.optim.SGD, torch.optim.AdamW):
        monkeypatch.setattr(optimizer, "__init__", unfused(optimizer.__init__))
    # The tensors of the meta device have no numbers: what wants to read one, or to choose by one,
    # is an error.
    on_meta = Trainer(run.model_copy(update={"device": "meta"}), Resident())
    schedule, batches = start_schedule(run), on_meta.batches()
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
    data = Resident().dataset(run.data, place)
    made = TrainStep(StepSignature.of(run), build_network(run, data))
    for start in (0, 32):
        images, labels = (
            Normalize(data, place)(data.train.images[start : start + 32]),
            data.train.labels[start : start + 32],
        )
        loss, gradients = made(images, labels), made._gradients()
        assert made._graph
        torch.testing.assert_close(made.eager(images, labels), loss, rtol=1e-2, atol=1e-3)
        assert float((made._gradients() - gradients).norm() / gradients.norm()) < GRADIENT_TOLERANCE


@pytest.mark.gpu
@gpu
def test_one_graph_serves_all_runs(spec: Spec) -> None:
    resident, place = Resident(), torch.device("cuda:0")
    for overrides in ([], ["scheduler=one_cycle"], ["optimizer=adamw"], ["train.epochs=3", "seed=4"]):
        train_one(spec("device=cuda:0", *overrides), resident=resident)
    run = spec("device=cuda:0").resolved(resolve_device("cuda:0"))
    assert resident.train_step(run, build_network(run, resident.dataset(run.data, place))).captures == 1


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
    place = torch.device("cuda:0")
    data = Resident().dataset(run.data, place)
    made = TrainStep(StepSignature.of(run), Restless())
    made(Normalize(data, place)(data.train.images[:32]), data.train.labels[:32])
    assert not made._graph
