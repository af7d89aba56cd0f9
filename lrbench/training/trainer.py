"""A network with its optimizers and its data: the training step and the evaluation."""

import math
from collections.abc import Iterator
from itertools import islice
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lrbench.config.targets import locate
from lrbench.data.batches import Batches, Normalize
from lrbench.data.dataset import Dataset, Split
from lrbench.schedules.table import RateSource
from lrbench.spec import ConfigError, TrainSpec, TrialSpec
from lrbench.training.averaging import WeightAverage
from lrbench.training.device_step import DeviceStep
from lrbench.training.optimizers import Optimizers, build_optimizers
from lrbench.training.run_cache import RunCache
from lrbench.training.table_optimizers import TableOptimizer
from lrbench.training.views import mean_output

EVAL_BATCH = 500
REFRESH_IMAGES = 4000  # training images that give BatchNorm new statistics


class Trainer:
    """The network, the optimizers and the data of a run, on its device.

    `data` replaces the data set of `spec`, for measurements without a file.
    """

    def __init__(self, spec: TrialSpec, run_cache: RunCache, data: Dataset | None = None) -> None:
        self.spec, self.device = spec, torch.device(spec.device)
        self.data = data or run_cache.dataset(spec.data, self.device)
        self.normalize = Normalize(self.data, self.device)
        network = build_network(spec, self.data)
        self.device_step = run_cache.device_step(spec, network, self.data)
        self.train_step = self.device_step.train_step if self.device_step else run_cache.train_step(spec, network)
        self.net = self.train_step.net.train()  # a run before it may have left the step in evaluation
        self.optimizers: Optimizers | TableOptimizer
        self.optimizers = self.device_step.optimizer if self.device_step else build_optimizers(spec, self.net)
        self.steps_per_epoch = len(self.data.train) // spec.train.batch_size
        self.generator = seeded_generator(spec.seed, "batches")
        self.generator_state: Tensor | None = None  # at the beginning of the epoch
        self.eval_steps = _eval_steps(spec.train)
        kind = spec.train.average
        self.average = None if kind == "none" else WeightAverage(kind, self.net, spec.train.total_steps)

    def step_kind(self) -> str | None:
        """Return how the steps were made, in words, None for plain steps on a CPU."""
        is_compiled = self.train_step.compilation.is_on
        if self.device.type == "cpu" and not is_compiled:
            return None
        kind = "one CUDA graph a step" if self.device_step and self.device_step.graph else "kernel by kernel"
        return f"{kind}, compiled" if is_compiled else kind

    @property
    def torch_optimizers(self) -> Optimizers:
        """The optimizers of a run without a device step."""
        assert isinstance(self.optimizers, Optimizers), "this run has a device step"
        return self.optimizers

    def steps(self, schedule: RateSource, start: int = 0) -> Iterator[tuple[Tensor, float]]:
        """Make the steps of the run from number `start` on.

        Yields the loss of each step, a tensor () on the device, and its learning rate.
        """
        if self.device_step:
            yield from self._device_steps(self.device_step, schedule, start)
            return
        for step, (images, labels) in enumerate(self.batches(start), start):
            self.set_rate(schedule, step)
            yield self.step(images, labels), self.rate()

    def batches(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images and labels of each step of the run, from step `start` on."""
        source = self._batch_source()
        for epoch, steps in self._epochs(start):
            yield from islice(source.epoch(epoch, steps.start % self.steps_per_epoch), len(steps))

    def _batch_source(self) -> Batches:
        source = Batches(self.data, self.spec.data, self.spec.train.batch_size, self.generator)
        if self.generator_state is not None:
            self.generator.set_state(self.generator_state)
        return source

    def _epochs(self, start: int) -> Iterator[tuple[int, range]]:
        """Yield the number and the steps of each epoch, from step `start` on."""
        while start < self.spec.train.total_steps:
            self.generator_state = self.generator.get_state()
            epoch = start // self.steps_per_epoch
            end = min((epoch + 1) * self.steps_per_epoch, self.spec.train.total_steps)
            yield epoch, range(start, end)
            start = end

    def _device_steps(
        self, device_step: DeviceStep, schedule: RateSource, start: int
    ) -> Iterator[tuple[Tensor, float]]:
        source, optimizer = self._batch_source(), device_step.optimizer
        for epoch, steps in self._epochs(start):
            device_step.load_epoch(source.draw(epoch), steps.start % self.steps_per_epoch)
            for part in _split(steps, self.eval_steps):  # an evaluation may change the next rates
                rates = [schedule.rate(step) for step in part]
                momenta = [None if schedule.momentum is None else float(schedule.momentum[step]) for step in part]
                progress = [step / self.spec.train.total_steps for step in part]
                rows, counters = optimizer.rows(rates, momenta, progress)
                device_step.load_rows(part.start % self.steps_per_epoch, rows)
                for rate, after in zip(rates, counters, strict=True):
                    self.net.train()
                    optimizer.before_step()
                    loss = device_step()
                    optimizer.counters = after
                    yield loss, rate

    def epoch_state(self, steps: int) -> Tensor | None:
        """Return the generator's state at the beginning of the current epoch, after `steps` steps.

        Between two epochs, this is the state at the beginning of the next one.
        """
        in_epoch = steps % self.steps_per_epoch > 0
        return self.generator_state if in_epoch else self.generator.get_state()

    def set_rate(self, schedule: RateSource, step: int) -> None:
        """Set the learning rate of a step, and the momentum if the schedule has one."""
        momentum = None if schedule.momentum is None else float(schedule.momentum[step])
        self.torch_optimizers.set_rate(schedule.rate(step), momentum, step / self.spec.train.total_steps)

    def rate(self) -> float:
        """Return the learning rate of the weights in the last step."""
        return self.torch_optimizers.rate()

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Make one step kernel by kernel, and return its loss, a tensor () on the device."""
        self.net.train()
        self.torch_optimizers.before_step()
        loss = self.train_step(images, labels)
        self.torch_optimizers.step()
        return loss

    def weights_are_finite(self) -> bool:
        """Return True if every weight is finite.

        A NaN weight can hide behind a ReLU and leave the loss finite.
        """
        return bool(torch.stack([weight.isfinite().all() for weight in self.net.parameters()]).all())

    def evaluate(self, split: Split, views: int = 1) -> tuple[float, float]:
        """Return the mean loss and the accuracy on `split`, from the mean output over `views`."""
        if self.net.training:
            self.optimizers.before_evaluation(self._refresh_batch_norm)
        self.net.eval()
        return self._score(split, views)

    def extra_test_accuracies(self) -> Iterator[tuple[str, float]]:
        """Yield the metrics of EXTRA_TEST_ACCURACIES that the spec asks for."""
        views = self.spec.train.test_views
        if views > 1:
            yield "test/views_accuracy", self.evaluate(self.data.test, views)[1]
        if self.average:
            with self.average.in_network():
                yield "test/average_accuracy", self.evaluate(self.data.test)[1]
                if views > 1:
                    yield "test/average_views_accuracy", self.evaluate(self.data.test, views)[1]

    def _refresh_batch_norm(self) -> None:
        """Compute the statistics of BatchNorm for weights that the network was not trained with."""
        images = torch.split(self.data.train.images[:REFRESH_IMAGES], self.spec.train.batch_size)
        with self.train_step.autocast(), torch.no_grad():
            update_bn(map(self.normalize, images), self.net)

    @torch.inference_mode()
    def _score(self, split: Split, views: int) -> tuple[float, float]:
        loss, correct = torch.zeros(2, dtype=torch.float64, device=self.device)
        for start in range(0, len(split), EVAL_BATCH):
            labels = split.labels[start : start + EVAL_BATCH]
            with self.train_step.autocast():
                images = self.normalize(split.images[start : start + EVAL_BATCH])
                outputs = mean_output(self.net, images, views).float()
            loss += F.cross_entropy(outputs, labels, reduction="sum")
            correct += (outputs.argmax(1) == labels).sum()
        return loss.item() / len(split), correct.item() / len(split)


def _split(steps: range, ends: set[int]) -> Iterator[range]:
    """Yield the parts of `steps` that end with the steps after which the run is evaluated.

    >>> list(_split(range(20, 30), {5, 25, 40}))
    [range(20, 25), range(25, 30)]
    """
    start = steps.start
    for end in [*sorted(end for end in ends if end in range(steps.start + 1, steps.stop)), steps.stop]:
        yield range(start, end)
        start = end


def _eval_steps(train: TrainSpec) -> set[int]:
    """Return the numbers of the steps after which the run is evaluated.

    The last step is always among them.
    """
    interval = train.eval_epochs * train.steps_per_epoch
    numbers = range(1, math.ceil(train.total_steps / interval) + 1)
    steps = {max(1, round(number * interval)) for number in numbers}
    return {min(step, train.total_steps) for step in steps} | {train.total_steps}


def seeded_generator(seed: int, purpose: Literal["weights", "batches"]) -> torch.Generator:
    """Return a generator that depends on the seed and on its purpose."""
    stream = {"weights": 0, "batches": 1}[purpose]
    (state,) = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state >> 1))  # torch takes 63 bits


def build_network(spec: TrialSpec, data: Dataset) -> nn.Module:
    """Return the network of a run, initialised from its seed.

    Raises ConfigError if its arguments are invalid or if the images are too small.
    """
    with torch.random.fork_rng(devices=[]):  # torch's initialisers draw from the global generator
        torch.manual_seed(seeded_generator(spec.seed, "weights").initial_seed())
        try:
            net = locate(spec.model.target)(data, **spec.model.args)
        except ConfigError:
            raise
        except (TypeError, ValueError) as error:
            raise ConfigError(f"model={spec.model.name}: {error}") from error
    if not isinstance(net, nn.Module):
        raise ConfigError(f"model._target_={spec.model.target}: must return a module; got {type(net).__name__}")
    return net
