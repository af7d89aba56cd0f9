"""The forward and backward pass of a network, in the precision of its run."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.spec import TrialSpec
from lrbench.training.compilation import Compilation, Mode, compilation_mode


@dataclass(frozen=True)
class StepSignature:
    """The properties that two runs must share to use one train step.

    Schedulers, optimizers, lengths and seeds may differ.
    """

    data: str  # decides the size of the images and the number of classes
    model: str
    batch_size: int
    label_smoothing: float
    precision: str
    device: str
    compile: Mode

    @classmethod
    def of(cls, spec: TrialSpec, *, compilation_pays: bool = False) -> "StepSignature":
        """Return the signature of a resolved spec."""
        train = spec.train
        return cls(
            data=spec.data.model_dump_json(include={"target", "args"}),
            model=spec.model.model_dump_json(),
            batch_size=train.batch_size,
            label_smoothing=train.label_smoothing,
            precision=train.precision,
            device=spec.device,
            compile=compilation_mode(spec, pays=compilation_pays),
        )


class TrainStep:
    """A network with its forward and backward pass."""

    def __init__(self, signature: StepSignature, network: nn.Module) -> None:
        self.signature, self.device = signature, torch.device(signature.device)
        self.net = network.to(self.device).to(memory_format=torch.channels_last)
        self.compilation = Compilation(signature.compile)
        self._loss = self.compilation.compiled(self.loss)

    def load(self, network: nn.Module) -> None:
        """Copy the weights of `network` in place."""
        self.net.load_state_dict(network.state_dict())

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that makes the network compute in the precision of the run."""
        if self.signature.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch, a tensor () on the device.

        The images are normalised and have the shape (batch_size, 3, size, size).
        """
        with self.autocast():
            return F.cross_entropy(self.net(images), labels, label_smoothing=self.signature.label_smoothing)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch, and set the gradients."""
        return self.compilation.run(lambda: self._pass(images, labels))

    def _pass(self, images: Tensor, labels: Tensor) -> Tensor:
        for weight in self.net.parameters():
            weight.grad = None
        loss: Tensor = self._loss(images, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()
