"""A network with its optimizers and its data on the device: the training step, and the evaluation."""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lrbench import data, optimizers, passes, schedules
from lrbench.spec import ConfigError, TrialSpec

EVAL_BATCH = 500
REFRESH_IMAGES = 4000  # on which BatchNorm's statistics are taken for the averaged weights of Schedule-Free


class Trainer:
    """A network, its optimizers and its data on the device: what `train_one` steps."""

    def __init__(self, spec: TrialSpec, dataset: data.Dataset) -> None:
        self.spec, self.device, self.data = spec, torch.device(spec.device), dataset
        self.normalize = data.Normalize(self.device)
        self._pass = passes.begun(spec, network(spec, self.data))
        self.net = self._pass.net
        self.optimizers = optimizers.build(spec, self.net)
        self.generator = generator(spec.seed, "batches")
        self.generator_state: Tensor | None = None  # at the beginning of the epoch
        self.averages = spec.scheduler.target == schedules.SCHEDULE_FREE
        epochs, per_epoch, total = spec.train.eval_epochs, spec.train.steps_per_epoch, spec.train.total_steps
        evaluations = range(1, math.ceil(total / (epochs * per_epoch)) + 1)
        self.eval_steps = {min(total, max(1, round(number * epochs * per_epoch))) for number in evaluations} | {total}

    def batches(self, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the images and labels of each step of the run, from step `start` on."""
        train = self.spec.train
        source = data.Batches(self.data.train, self.spec.data, train.batch_size, self.generator)
        if self.generator_state is not None:
            self.generator.set_state(self.generator_state)
        left, (epoch, first) = train.total_steps - start, divmod(start, train.steps_per_epoch)
        while left:
            self.generator_state = self.generator.get_state()
            for batch in source.epoch(epoch, first):
                yield batch
                left -= 1
                if not left:
                    return
            epoch, first = epoch + 1, 0

    def epoch_state(self, steps: int) -> Tensor | None:
        """Return the state of the generator at the beginning of the epoch that the step after `steps` is in."""
        return self.generator_state if steps % self.spec.train.steps_per_epoch else self.generator.get_state()

    def set_rate(self, schedule: schedules.Schedule | schedules.LiveSchedule, step: int) -> None:
        """Give the optimizers the rate of a step, and the momentum where the schedule has one."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step) * group["lr_factor"]
                if schedule.momentum is not None:
                    optimizers.set_momentum(group, float(schedule.momentum[step]))

    def rate(self) -> float:
        """Return the rate that the optimizer used in its last step, for the weights."""
        return float(self.optimizers[0].param_groups[0]["lr"])

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Make one optimizer step and return its loss, a tensor () on the device."""
        self.net.train()
        if self.averages:
            for optimizer in self.optimizers:
                optimizer.train()  # type: ignore[attr-defined]  # schedulefree's
        loss = self._pass(images, labels)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def weights_are_finite(self) -> bool:
        """Return whether no weight is infinite or none: behind a ReLU, the loss may not show one."""
        return bool(torch.stack([weight.isfinite().all() for weight in self.net.parameters()]).all())

    def evaluate(self, split: data.Split) -> tuple[float, float]:
        """Return the mean loss and the accuracy on `split`."""
        if self.averages and self.net.training:
            self._go_to_average()
        self.net.eval()
        return self._score(split)

    def _go_to_average(self) -> None:
        """Put the averaged weights of Schedule-Free into the network, and the statistics that BatchNorm has there."""
        for optimizer in self.optimizers:
            optimizer.eval()  # type: ignore[attr-defined]  # schedulefree's
        images = torch.split(self.data.train.images[:REFRESH_IMAGES], self.spec.train.batch_size)
        with self._pass.autocast(), torch.no_grad():
            update_bn(map(self.normalize, images), self.net)

    @torch.inference_mode()
    def _score(self, split: data.Split) -> tuple[float, float]:
        loss, correct = torch.zeros(2, dtype=torch.float64, device=self.device)
        for start in range(0, len(split), EVAL_BATCH):
            labels = split.labels[start : start + EVAL_BATCH]
            with self._pass.autocast():
                outputs = self.net(self.normalize(split.images[start : start + EVAL_BATCH])).float()
            loss += F.cross_entropy(outputs, labels, reduction="sum")
            correct += (outputs.argmax(1) == labels).sum()
        return loss.item() / len(split), correct.item() / len(split)


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return a generator that depends on the seed and on what it is for: weights or batches."""
    stream = {"weights": 0, "batches": 1}[purpose]
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0] >> 1))


def network(spec: TrialSpec, dataset: data.Dataset) -> nn.Module:
    """Return the network of a run, as its seed makes it. Raises ConfigError where its arguments cannot be."""
    with torch.random.fork_rng(devices=[]):  # torch's initialisers draw from the global generator
        torch.manual_seed(generator(spec.seed, "weights").initial_seed())
        try:
            net = schedules.locate(spec.model.target)(dataset, **spec.model.args)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"model={spec.model.name}: {error}") from error
    assert isinstance(net, nn.Module)
    return net
