import gc
import weakref

import pytest
import torch

from lrbench.spec import TrialSpec
from lrbench.training.run_cache import RunCache
from lrbench.training.train import train_one
from lrbench.training.train_step import TrainStep
from lrbench.training.trainer import build_network
from tests.builders import without_times
from tests.conftest import Spec

CPU = torch.device("cpu")


def test_a_run_after_others_has_the_result_of_a_run_alone(spec: Spec) -> None:
    run, run_cache = spec("optimizer.lr=0.3"), RunCache()
    alone = without_times(train_one(run))
    for other in (
        ["seed=9"],
        ["scheduler=one_cycle", "train.epochs=3"],
        ["optimizer=adamw"],
        ["optimizer=muon"],
        ["optimizer.lr=1e30"],
    ):
        train_one(spec("optimizer.search.lr.high=1e31", *other), run_cache=run_cache)
    assert without_times(train_one(run, run_cache=run_cache)) == alone


def _step(run_cache: RunCache, run: TrialSpec) -> TrainStep:
    return run_cache.train_step(run, build_network(run, run_cache.dataset(run.data, CPU)))


def test_runs_with_one_signature_share_a_train_step(spec: Spec) -> None:
    run_cache = RunCache()
    first = _step(run_cache, spec())
    net = first.net
    others = ("scheduler=rex", "seed=5", "optimizer=adamw", "train.epochs=3", "optimizer.weight_decay=0")
    for overrides in ([], others, ["data.train_images=100"], ["data.crop_padding=2"]):
        step = _step(run_cache, spec(*overrides))
        assert step is first
        assert step.net is net


@pytest.mark.parametrize(
    "change",
    [
        "model.args.activation=silu",
        "train.batch_size=16",
        "train.label_smoothing=0.3",
        "train.precision=bfloat16",
        "data._target_=lrbench.data.synthetic.gratings",
    ],
)
def test_another_signature_gives_another_step(spec: Spec, change: str) -> None:
    run_cache, run, other = RunCache(), spec("train.precision=float32"), spec("train.precision=float32", change)
    first = _step(run_cache, run)
    second = run_cache.train_step(other, build_network(other, run_cache.dataset(run.data, CPU)))
    assert second is not first
    assert second.net is not first.net
    assert _step(run_cache, run) is not first  # only the last one is kept


def test_a_shared_step_has_the_weights_of_its_run(spec: Spec) -> None:
    run_cache, run = RunCache(), spec("seed=5")
    first = _step(run_cache, spec())
    network = build_network(run, run_cache.dataset(run.data, CPU))
    expected = {name: value.clone() for name, value in network.state_dict().items()}
    assert run_cache.train_step(run, network) is first
    torch.testing.assert_close(dict(first.net.state_dict()), expected)


def test_the_last_two_data_sets_stay_loaded(spec: Spec) -> None:
    run_cache = RunCache()
    search, final, other = (spec(f"data.train_images={images}").data for images in (100, 200, 300))
    first = run_cache.dataset(search, CPU)
    run_cache.dataset(final, CPU)
    assert run_cache.dataset(search, CPU) is first
    run_cache.dataset(other, CPU)
    run_cache.dataset(final, CPU)
    assert run_cache.dataset(search, CPU) is not first


def test_a_data_set_that_is_dropped_frees_its_memory(spec: Spec) -> None:
    """The padded images and the whitening filters belong to it, too."""
    run_cache = RunCache()
    train_one(spec("data.crop_padding=2"), run_cache=run_cache)
    dataset = weakref.ref(run_cache.dataset(spec("data.crop_padding=2").data, CPU))
    for images in (100, 200):
        run_cache.dataset(spec(f"data.train_images={images}").data, CPU)
    gc.collect()
    assert dataset() is None
