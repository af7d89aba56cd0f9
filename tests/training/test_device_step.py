"""The whole step on a device: on the CPU, with a stand-in for a CUDA graph, and on a GPU."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lrbench.data.dataset import Dataset
from lrbench.results.result import TrialResult
from lrbench.schedules.table import start_schedule
from lrbench.spec import TrialSpec
from lrbench.training import device_step as device_step_module
from lrbench.training import progress
from lrbench.training import run_cache as run_cache_module
from lrbench.training import trainer as trainer_module
from lrbench.training.device import resolve_device
from lrbench.training.device_step import DeviceStep
from lrbench.training.run_cache import RunCache
from lrbench.training.throughput import measure_throughput
from lrbench.training.train import train_one
from lrbench.training.trainer import Trainer, build_network
from lrbench.training.update_rules import SGD
from lrbench.training.weight_vector import WeightVector
from tests.builders import without_times
from tests.conftest import Spec
from tests.training.recorded_graph import RecordedGraph
from tests.training.test_checkpoint import check_resume, cut_off

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
OPTIMIZERS = (
    ["scheduler=one_cycle", "scheduler.args.cycle_momentum=true"],
    ["optimizer.args.nesterov=false", "optimizer.bias_lr_factor=8"],
    ["optimizer=adamw"],
    ["optimizer=muon", "optimizer.lr=0.005"],
    ["scheduler=schedule_free"],
    ["model.args.freeze_stem_bias=0.4", "optimizer.bias_lr_factor=8"],
    ["scheduler=schedule_free", "optimizer=adamw", "scheduler.args.average_power=1"],
    ["scheduler=plateau", "scheduler.args.patience=0", "train.eval_epochs=0.4"],
    ["model=resnet20", "model.args.width=4", "optimizer.lr=0.05", "data.crop_padding=4", "data.flip=random"],
)


@pytest.fixture
def device_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets runs on the CPU train with a device step and a recorded graph."""
    monkeypatch.setattr(run_cache_module, "uses_device_step", lambda spec: spec.train.graph == "auto")
    monkeypatch.setattr(device_step_module, "can_capture", lambda device: True)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: graph)
    for name in ("Stream", "stream", "current_stream", "device"):
        monkeypatch.setattr(torch.cuda, name, MagicMock())


def _step_of(run: TrialSpec, run_cache: RunCache) -> DeviceStep:
    run = run.resolved(resolve_device(run.device))
    data = run_cache.dataset(run.data, torch.device(run.device))
    step = run_cache.device_step(run, build_network(run, data), data)
    assert step
    return step


@pytest.mark.usefixtures("device_steps")
@pytest.mark.parametrize("overrides", OPTIMIZERS, ids=" ".join)
def test_a_captured_run_is_an_eager_run(spec: Spec, overrides: list[str]) -> None:
    """The eager run has the optimizers of torch and of schedulefree, which have no tables."""
    run = spec("train.precision=float32", "train.epochs=2.5", *overrides)
    eager_run = run.model_copy(update={"train": run.train.model_copy(update={"graph": "off"})})
    run_cache = RunCache()
    train_one(spec("train.precision=float32", "seed=7", *overrides), run_cache=run_cache)  # captures
    captured, eager = train_one(run, run_cache=run_cache), train_one(eager_run, run_cache=run_cache)
    assert _step_of(run, run_cache).captures == 1
    assert captured.curves["lr"].values == eager.curves["lr"].values
    assert captured.curves["train/loss"].steps == eager.curves["train/loss"].steps
    losses = torch.tensor([result.curves["train/loss"].values for result in (captured, eager)])
    # Training enlarges differences of rounding: 1e-7 at the first steps, 1e-3 after 50.
    torch.testing.assert_close(losses[0], losses[1], rtol=2e-2, atol=1e-3)
    torch.testing.assert_close(losses[0, :8], losses[1, :8], rtol=1e-3, atol=1e-6)


@pytest.mark.usefixtures("device_steps")
def test_one_graph_serves_all_schedules_rates_and_seeds(spec: Spec) -> None:
    run_cache = RunCache()
    for overrides in (
        [],
        ["scheduler=one_cycle", "optimizer.lr=0.1", "optimizer.args.momentum=0.8"],
        ["train.epochs=3", "seed=4", "optimizer.weight_decay=0", "optimizer.bias_lr_factor=4"],
        ["data.train_images=300"],  # as in the search of a sweep
    ):
        train_one(spec(*overrides), run_cache=run_cache)
    step = _step_of(spec(), run_cache)
    assert step.graph
    assert step.captures == 1
    assert _step_of(spec("optimizer=adamw"), run_cache) is not step
    assert _step_of(spec(), run_cache) is step  # two are kept
    for other in (["optimizer.args.nesterov=false"], ["train.batch_size=16"]):
        assert _step_of(spec(*other), run_cache) is not step
    assert _step_of(spec(), run_cache) is not step


@pytest.mark.usefixtures("device_steps")
def test_a_run_after_others_has_the_result_of_a_run_alone(spec: Spec) -> None:
    run, run_cache = spec("optimizer.lr=0.3"), RunCache()
    alone = without_times(train_one(run))
    others = (["seed=9"], ["scheduler=one_cycle", "train.epochs=3"], ["data.train_images=100"], ["optimizer.lr=1e30"])
    for other in others:
        train_one(spec("optimizer.search.lr.high=1e31", *other), run_cache=run_cache)
    assert without_times(train_one(run, run_cache=run_cache)) == alone


@pytest.mark.usefixtures("device_steps")
@pytest.mark.parametrize(
    ("overrides", "after_epochs"),
    [(["scheduler=schedule_free"], 1.65), (["optimizer=adamw"], 1.4), (["train.average=lookahead"], 2.0)],
    ids=str,
)
def test_a_captured_run_resumes(
    spec: Spec, tmp_path: Path, overrides: list[str], after_epochs: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.0)
    check_resume(spec("train.epochs=3", "train.eval_epochs=0.4", *overrides), tmp_path, after_epochs)


@pytest.mark.usefixtures("device_steps")
def test_a_checkpoint_of_the_other_way_to_train_is_ignored(spec: Spec, tmp_path: Path) -> None:
    """It has the state of other optimizers. The same run may resume on another device."""
    run = spec("train.epochs=3")
    eager = run.model_copy(update={"train": run.train.model_copy(update={"graph": "off"})})
    cut_off(eager, tmp_path / "run.pt", 1.0)
    assert without_times(train_one(run, checkpoint=tmp_path / "run.pt")) == without_times(train_one(run))


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


@pytest.mark.parametrize("graph", ["auto", "off"])
@pytest.mark.parametrize("overrides", OPTIMIZERS, ids=" ".join)
def test_within_an_epoch_nothing_waits_for_the_device(
    spec: Spec, monkeypatch: pytest.MonkeyPatch, overrides: list[str], graph: str
) -> None:
    """Tensors on the meta device have no numbers, so an operation that reads one raises an error.

    A GPU would have to wait for such an operation. The batches of an epoch, and the scalars of the
    steps until the next evaluation, go to the device before these steps.
    """
    run = spec("train.precision=float32", "train.epochs=1", "train.eval_epochs=1", f"train.graph={graph}", *overrides)
    data = RunCache().dataset(run.data, torch.device("cpu"))
    net = build_network(run, data)
    monkeypatch.setattr(trainer_module, "build_network", lambda spec, dataset: net)
    monkeypatch.setattr(run_cache_module, "uses_device_step", lambda spec: spec.train.graph == "auto")
    for optimizer in (torch.optim.SGD, torch.optim.AdamW):
        monkeypatch.setattr(optimizer, "__init__", unfused(optimizer.__init__))
    on_meta = Trainer(run.model_copy(update={"device": "meta"}), RunCache())
    steps = on_meta.steps(start_schedule(run))
    losses = [next(steps)[0]]
    with Transfers() as transfers:
        losses += [loss for loss, _ in steps]
    assert len(losses) == run.train.total_steps
    assert all(loss.is_meta for loss in losses)
    assert not [name for name in transfers.operations if graph == "off" or "copy_" not in name]
    # With more evaluations, the scalars go to the device in parts.
    assert len(transfers.operations) <= (2 if "scheduler=plateau" in overrides and graph == "auto" else 0)


class Restless(nn.Module):
    """Its gradients are larger at each call, which a graph cannot reproduce."""

    def __init__(self, data: Dataset) -> None:
        super().__init__()
        self.weight, self.calls = nn.Parameter(torch.ones(3, 10)), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.mean((2, 3)) @ self.weight * self.calls


def _restless_run(spec: Spec, *overrides: str) -> TrialSpec:
    run = spec("train.precision=float32", "optimizer.lr=0.01", *overrides)
    model = run.model.model_copy(update={"target": f"{__name__}.Restless", "args": {}})
    return run.model_copy(update={"model": model})


@pytest.mark.usefixtures("device_steps")
def test_a_network_that_a_graph_cannot_reproduce_stays_eager(spec: Spec, capsys: pytest.CaptureFixture[str]) -> None:
    run, run_cache = _restless_run(spec), RunCache()
    train_one(run, run_cache=run_cache)
    train_one(run, run_cache=run_cache)
    step = _step_of(run, run_cache)
    assert (step.graph, step.captures) == (None, 1)  # it does not try again
    assert "training without a CUDA graph: its gradients and its update differ" in capsys.readouterr().out


@pytest.mark.usefixtures("device_steps")
def test_a_graph_with_another_update_is_refused(
    spec: Spec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The update of the graph lacks the weight decay, as if it were a constant of the capture."""
    update, run_cache = SGD.update, RunCache()

    def without_decay(rule: SGD, group: WeightVector, gradient: Tensor, scalars: Sequence[Tensor]) -> None:
        decay = scalars[2] * (0 if RecordedGraph.is_recording else 1)
        update(rule, group, gradient, [scalars[0], scalars[1], decay])

    monkeypatch.setattr(SGD, "update", without_decay)
    train_one(spec("train.precision=float32", "optimizer.weight_decay=0.5"), run_cache=run_cache)
    assert _step_of(spec("train.precision=float32"), run_cache).graph is None
    assert "its gradients and its update differ from eager ones by 0.0 % and " in capsys.readouterr().out


@pytest.mark.usefixtures("device_steps")
def test_an_optimizer_without_a_table_trains_kernel_by_kernel(spec: Spec, capsys: pytest.CaptureFixture[str]) -> None:
    run = spec("optimizer.args.nesterov=false")
    args = {**run.optimizer.args, "dampening": 0.1}
    run = run.model_copy(update={"optimizer": run.optimizer.model_copy(update={"args": args})})
    assert Trainer(run.resolved(resolve_device("cpu")), RunCache()).device_step is None
    assert "training without a CUDA graph: it has no form of optimizer=sgd" in capsys.readouterr().out


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("overrides", [*OPTIMIZERS, ["train.precision=bfloat16"]], ids=" ".join)
def test_the_graph_reproduces_the_eager_run(spec: Spec, overrides: list[str]) -> None:
    def losses(*more: str) -> Tensor:
        result: TrialResult = train_one(spec("device=cuda:0", "train.precision=float32", *overrides, *more))
        return torch.tensor(result.curves["train/loss"].values)

    run_cache = RunCache()
    train_one(spec("device=cuda:0", *overrides), run_cache=run_cache)
    assert _step_of(spec("device=cuda:0", *overrides), run_cache).graph
    torch.testing.assert_close(losses(), losses("train.graph=off"), rtol=5e-2, atol=1e-2)


@pytest.mark.gpu
@gpu
def test_a_restless_network_stays_eager_on_a_gpu(spec: Spec) -> None:
    run, run_cache = _restless_run(spec, "device=cuda:0"), RunCache()
    train_one(run, run_cache=run_cache)
    assert _step_of(run, run_cache).graph is None


@pytest.mark.gpu
@gpu
def test_the_throughput_of_a_gpu(spec: Spec) -> None:
    """The blank images must be on the GPU, like the network."""
    throughput = measure_throughput(spec("device=cuda:0").resolved(resolve_device("cuda:0")))
    assert throughput.step > 0
    assert throughput.image > 0
