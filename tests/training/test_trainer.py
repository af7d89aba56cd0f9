import numpy as np
import pytest
import torch

from lrbench.config.paths import data_root
from lrbench.data.dataset import load_dataset
from lrbench.schedules.table import schedule_table
from lrbench.spec import ConfigError
from lrbench.training.device import resolve_device
from lrbench.training.run_cache import RunCache
from lrbench.training.trainer import Trainer, build_network, seeded_generator
from tests.conftest import Spec

CPU = torch.device("cpu")


def test_momentum_in_training_is_the_table(spec: Spec) -> None:
    run = spec("scheduler.args.cycle_momentum=true").resolved(resolve_device("cpu"))
    schedule, trainer = schedule_table(run), Trainer(run, RunCache())
    assert schedule.momentum is not None
    for step in range(3):
        trainer.set_rate(schedule, step)
        assert trainer.torch_optimizers.parameter_groups()[0]["momentum"] == schedule.momentum[step]


def test_the_rate_of_a_group_is_its_factor_times_the_scheduled_rate(spec: Spec) -> None:
    run = spec("scheduler=constant", "optimizer.lr=0.25", "optimizer.bias_lr_factor=16").resolved(resolve_device("cpu"))
    trainer = Trainer(run, RunCache())
    trainer.set_rate(schedule_table(run), 0)
    assert [group["lr"] for group in trainer.torch_optimizers.parameter_groups()] == [0.25, 4.0]
    assert trainer.rate() == 0.25


@pytest.mark.parametrize(
    ("epochs", "eval_epochs", "steps"),
    [
        (2.5, 1, [20, 40, 50]),
        (2, 0.5, [10, 20, 30, 40]),
        (1, 10, [20]),
        (0.2, 0.01, [1, 2, 3, 4]),  # never twice after one step
    ],
)
def test_steps_of_the_evaluations(spec: Spec, epochs: float, eval_epochs: float, steps: list[int]) -> None:
    run = spec(f"train.epochs={epochs}", f"train.eval_epochs={eval_epochs}").resolved(resolve_device("cpu"))
    assert sorted(Trainer(run, RunCache()).eval_steps) == steps


def test_batches_resume_inside_an_epoch(spec: Spec) -> None:
    run = spec("train.epochs=2", "data.flip=random", "data.crop_padding=2").resolved(resolve_device("cpu"))
    whole = [images for images, _ in Trainer(run, RunCache()).batches()]
    first, second = Trainer(run, RunCache()), Trainer(run, RunCache())
    for _ in zip(range(25), first.batches(), strict=False):
        pass
    second.generator_state = first.epoch_state(25)
    resumed = [images for images, _ in second.batches(25)]
    assert len(resumed) == 15
    assert all(torch.equal(one, other) for one, other in zip(resumed, whole[25:], strict=True))


def test_the_score_is_the_mean_over_all_images(spec: Spec) -> None:
    """Of 70 images, in batches of 500: the last batch may have any size."""
    trainer = Trainer(spec("train.precision=float32").resolved(resolve_device("cpu")), RunCache())
    loss, accuracy = trainer.evaluate(trainer.data.test)
    with torch.no_grad():
        outputs = trainer.net(trainer.normalize(trainer.data.test.images))
    labels = trainer.data.test.labels
    assert loss == pytest.approx(float(torch.nn.functional.cross_entropy(outputs, labels)), rel=1e-5)
    assert accuracy == float((outputs.argmax(1) == labels).double().mean())


def test_generators_differ_by_seed_and_purpose() -> None:
    seeds = {
        generator.initial_seed()
        for seed in range(3)
        for generator in (seeded_generator(seed, "weights"), seeded_generator(seed, "batches"))
    }
    assert len(seeds) == 6


def test_a_generator_repeats(spec: Spec) -> None:
    one, again = (torch.rand(3, generator=seeded_generator(7, "batches")) for _ in range(2))
    np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("torch.nn.Linear", "model=fast_quarter: "),  # its own error follows
        ("builtins.type", "model._target_=builtins.type: must return a module; got type"),
    ],
)
def test_a_target_that_returns_no_network(spec: Spec, target: str, message: str) -> None:
    run = spec()
    run = run.model_copy(update={"model": run.model.model_copy(update={"target": target, "args": {}})})
    with pytest.raises(ConfigError) as raised:
        build_network(run, load_dataset(run.data, CPU, data_root()))
    assert message in str(raised.value)
