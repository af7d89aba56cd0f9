import pytest
import torch

from lrbench.data.batches import Normalize
from lrbench.training.run_cache import RunCache
from lrbench.training.train_step import StepSignature, TrainStep
from lrbench.training.trainer import build_network
from tests.conftest import Spec

CPU = torch.device("cpu")


def test_gradients_are_those_of_the_last_batch(spec: Spec) -> None:
    run = spec("train.precision=float32")
    data = RunCache().dataset(run.data, CPU)
    step = TrainStep(StepSignature.of(run), build_network(run, data))
    images, labels = Normalize(data, CPU)(data.train.images[:32]), data.train.labels[:32]
    assert float(step(images, labels)) == pytest.approx(float(step(images, labels)), rel=1e-6)
    gradients = _gradients(step)
    step(images.flip(0), labels.roll(1))
    step(images, labels)
    torch.testing.assert_close(_gradients(step), gradients)


def _gradients(step: TrainStep) -> list[torch.Tensor]:
    return [weight.grad.clone() for weight in step.net.parameters() if weight.grad is not None]
