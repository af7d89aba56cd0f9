"""The forward and backward pass of a network: what a worker keeps from run to run, on a GPU as a CUDA graph."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrbench.spec import TrialSpec

WARM_UP_PASSES = 3  # before a capture, so that cuDNN and cuBLAS have made what they keep
SAME = 0.02  # relative difference of gradients up to which a captured pass counts as the one that it was captured from


@dataclass(frozen=True)
class Form:
    """What two runs must share for the second to use the first one's pass. Schedulers, optimizers, lengths and seeds may differ."""

    model: str
    batch_size: int
    label_smoothing: float
    precision: str
    device: str

    @classmethod
    def of(cls, spec: TrialSpec) -> "Form":
        """Return the form of a settled spec."""
        train = spec.train
        return cls(spec.model.model_dump_json(), train.batch_size, train.label_smoothing, train.precision, spec.device)


def begun(spec: TrialSpec, fresh: nn.Module) -> "Pass":
    """Return the pass of a run, its network in the state of `fresh`. It is that of the run before where the form is the same:
    only one of them may be at work.
    """
    made = _kept(Form.of(spec))
    made.begin(fresh)
    return made


@lru_cache(maxsize=1)
def _kept(form: Form) -> "Pass":
    return Pass(form)


class Pass:
    """Called with a batch, returns its loss, a tensor () on the device, and leaves the gradients at the weights.

    On a GPU it is captured at its first batch as a CUDA graph (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs), which
    needs one launch for all kernels. Rates and optimizers are no part of it, so that no other run of a sweep has to capture again. Where
    the replay does not repeat what was captured (a network that draws random numbers, or waits for the device), it is not used.
    """

    net: nn.Module

    def __init__(self, form: Form) -> None:
        self.form, self.device = form, torch.device(form.device)
        self.captures = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._capturing = self.device.type == "cuda"

    def begin(self, fresh: nn.Module) -> None:
        """Take over a network, or its state where there is one already: a graph knows its weights by their place in memory."""
        if hasattr(self, "net"):
            self.net.load_state_dict(fresh.state_dict())
        else:
            self.net = fresh.to(self.device).to(memory_format=torch.channels_last)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the network computes in the precision of the runs."""
        return nullcontext() if self.form.precision == "float32" else torch.autocast(self.device.type, torch.bfloat16)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Go through the network and back. The images are as `data.Normalize` makes them; the labels are (batch_size,)."""
        if self._capturing and not self._graph:
            with torch.cuda.device(self.device):
                self._capturing = self._capture(images, labels)
        if not self._graph:
            return self.eager(images, labels)
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._loss.clone()

    def eager(self, images: Tensor, labels: Tensor) -> Tensor:
        """Do the same kernel by kernel."""
        for weight in self.net.parameters():
            weight.grad = None
        with self.autocast():
            loss = F.cross_entropy(self.net(images), labels, label_smoothing=self.form.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _capture(self, images: Tensor, labels: Tensor) -> bool:
        """Capture the pass, and return whether the graph repeats it; the network's state is as before."""
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
            wanted = self._gradients()
            with torch.cuda.graph(graph):
                self._loss = self.eager(self._images, self._labels)
            graph.replay()
            difference = float((self._gradients() - wanted).norm() / wanted.norm())
        except RuntimeError as error:
            print(f"no CUDA graph of this network: {error}", flush=True)
            return False
        finally:
            self.net.load_state_dict(before)
        if not difference <= SAME:
            print(f"no CUDA graph of this network: its gradients differ from run to run, by {difference:.2g}", flush=True)
            return False
        self._graph = graph
        return True

    def _gradients(self) -> Tensor:
        """Return a copy of all gradients, in a row."""
        return torch.cat([weight.grad.flatten() for weight in self.net.parameters() if weight.grad is not None])
