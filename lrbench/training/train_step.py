"""The forward and backward pass of a network.

On a GPU, it is a CUDA graph that the runs of a process share.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.spec import TrialSpec

WARM_UP_PASSES = 3  # before a capture, so that cuDNN and cuBLAS have allocated their workspaces
GRADIENT_TOLERANCE = 0.02  # largest relative difference between the gradients of a replay and of the eager pass


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

    @classmethod
    def of(cls, spec: TrialSpec) -> "StepSignature":
        """Return the signature of a resolved spec."""
        train = spec.train
        return cls(
            data=spec.data.model_dump_json(include={"target", "args"}),
            model=spec.model.model_dump_json(),
            batch_size=train.batch_size,
            label_smoothing=train.label_smoothing,
            precision=train.precision,
            device=spec.device,
        )


class TrainStep:
    """A network with its forward and backward pass.

    On a GPU, the first batch captures the pass as a CUDA graph, so that one launch starts all of
    its kernels (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs). Learning rates
    and optimizers are not part of the graph, so the next runs of a sweep replay it. If a replay
    does not reproduce the eager gradients, or the capture fails, the pass stays eager. Examples are
    networks that draw random numbers or wait for the device.
    """

    def __init__(self, signature: StepSignature, network: nn.Module) -> None:
        self.signature, self.device = signature, torch.device(signature.device)
        self.net = network.to(self.device).to(memory_format=torch.channels_last)
        self.captures = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._graph_gradients: list[Tensor | None] = []  # of each weight, written by a replay
        self._may_capture = self.device.type == "cuda"

    def load(self, network: nn.Module) -> None:
        """Copy the weights of `network` in place.

        A graph knows its weights by their address in memory.
        """
        self.net.load_state_dict(network.state_dict())

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context that makes the network compute in the precision of the run."""
        if self.signature.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch, a tensor () on the device, and set the gradients.

        The images are normalised and have the shape (batch_size, 3, size, size).
        """
        if self._may_capture and not self._graph:
            with torch.cuda.device(self.device):
                self._may_capture = self._capture(images, labels)
        if not self._graph:
            return self.eager(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        self._attach_gradients()
        return self._loss.clone()

    def eager(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss and set the gradients without a graph, kernel by kernel."""
        for weight in self.net.parameters():
            weight.grad = None
        with self.autocast():
            loss = F.cross_entropy(self.net(images), labels, label_smoothing=self.signature.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _capture(self, images: Tensor, labels: Tensor) -> bool:
        """Capture the pass. Return True if the graph reproduces its gradients.

        The state of the network does not change.
        """
        self.captures += 1
        before = {name: value.clone() for name, value in self.net.state_dict().items()}
        self._images, self._labels = images.clone(), labels.clone()
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        try:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_PASSES):
                    self.eager(self._images, self._labels)
            torch.cuda.current_stream().wait_stream(stream)
            eager_gradients = self._gradients()
            with torch.cuda.graph(graph):
                self._loss = self.eager(self._images, self._labels)
            self._graph_gradients = [weight.grad for weight in self.net.parameters()]
            graph.replay()
            difference = float((self._gradients() - eager_gradients).norm() / eager_gradients.norm())
        except RuntimeError as error:
            print(f"training without a CUDA graph: {error}", flush=True)
            return False
        finally:
            self.net.load_state_dict(before)
        if not difference <= GRADIENT_TOLERANCE:
            print(
                f"training without a CUDA graph: its gradients differ from the eager ones by {100 * difference:.1f} %",
                flush=True,
            )
            return False
        self._graph = graph
        return True

    def _attach_gradients(self) -> None:
        """Give the weights the gradients of the graph, which an eager pass has detached."""
        for weight, gradient in zip(self.net.parameters(), self._graph_gradients, strict=True):
            weight.grad = gradient

    def _gradients(self) -> Tensor:
        """Return a copy of all gradients as one vector."""
        return torch.cat([weight.grad.flatten() for weight in self.net.parameters() if weight.grad is not None])
