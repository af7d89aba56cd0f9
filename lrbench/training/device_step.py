"""A whole training step on the device, as one CUDA graph that the runs of a process share.

The host's part of a step is one launch
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrbench.data.batches import Crops, EpochDraws
from lrbench.data.dataset import Dataset
from lrbench.spec import TrialSpec
from lrbench.training.table_optimizers import TableOptimizer, table_rules
from lrbench.training.train_step import StepSignature, TrainStep
from lrbench.training.update_rules import Rule

WARM_UP_STEPS = 3  # before a capture, so that cuDNN and cuBLAS have allocated their workspaces
GRADIENT_TOLERANCE = 0.02  # largest relative difference between the gradients of a replay and of the eager step
UPDATE_TOLERANCE = 0.01  # the same for what a replay adds to the weights, and an eager update with its gradients


@dataclass(frozen=True)
class DeviceStepSignature:
    """The properties that two runs must share to use one device step.

    Schedules, learning rates, momenta, weight decay, lengths, seeds and the number of training
    images may differ.
    """

    step: StepSignature
    images: int  # that there is memory for
    crop_padding: int
    rules: tuple[str, ...]

    @classmethod
    def of(cls, spec: TrialSpec, rules: Sequence[Rule], *, compilation_pays: bool = False) -> "DeviceStepSignature":
        """Return the signature of a resolved spec."""
        return cls(
            StepSignature.of(spec, compilation_pays=compilation_pays),
            spec.data.images,
            spec.data.crop_padding,
            tuple(rule.kind() for rule in rules),
        )


class DeviceStep:
    """Crop, flip, normalise, forward pass, backward pass and optimizer, without the host.

    The images, the batches of an epoch and the scalars of the optimizer are tables on the device.
    The step owns them, because a graph knows its tensors by their addresses. It reads the row that
    its counter `position` names, and then adds 1 to the counter. On a GPU, the first step is
    captured as a CUDA graph, which all later steps replay. If the graph does not reproduce the
    eager step, or the capture fails, the step stays eager. Examples are networks that draw random
    numbers or wait for the device.
    """

    def __init__(self, signature: DeviceStepSignature, spec: TrialSpec, network: nn.Module, data: Dataset) -> None:
        self.signature, self.train_step = signature, TrainStep(signature.step, network)
        groups = table_rules(spec, self.train_step.net)  # of the weights on the device
        assert groups
        self.optimizer = TableOptimizer(groups)
        self._compilation = self.train_step.compilation
        self._crops = Crops(data, signature.crop_padding)
        self._places = self._compilation.compiled(self._crops.places)
        self._forward = self._compilation.compiled(self._loss_of)
        self._update = self._compilation.compiled(self.optimizer.update)
        self.captures = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        device, batch = self.train_step.device, signature.step.batch_size
        self._may_capture = can_capture(device)
        images = max(signature.images, len(data.train))
        steps = images // batch  # of an epoch
        pixels_of_an_image = len(self._crops.pixels) // len(data.train)
        self._crops.pixels = self._crops.pixels.new_zeros(images * pixels_of_an_image, 3)
        self._labels = data.train.labels.new_zeros(images)
        self._order = torch.zeros(steps, batch, dtype=torch.int64, device=device)
        self._shifts = torch.zeros(steps, 2, batch, dtype=torch.int64, device=device)
        self._flips = torch.zeros(steps, batch, dtype=torch.bool, device=device)
        self._rows = torch.zeros(steps, self.optimizer.width, device=device)
        self._position = torch.zeros(1, dtype=torch.int64, device=device)
        self._loss = torch.zeros((), device=device)
        self._gradients: list[Tensor] = []  # of the last eager or captured step, in the order of the optimizer

    def start(self, network: nn.Module, rules: Sequence[Rule], data: Dataset) -> None:
        """Start another run in the memory of this step."""
        self.train_step.load(network)
        self.optimizer.start(rules)
        crops = Crops(data, self.signature.crop_padding)
        self._crops.pixels[: len(crops.pixels)] = crops.pixels
        self._labels[: len(data.train)] = data.train.labels
        self._crops.normalize.scale.copy_(crops.normalize.scale)
        self._crops.normalize.shift.copy_(crops.normalize.shift)

    def load_epoch(self, draws: EpochDraws, first: int) -> None:
        """Load the batches of an epoch. The next step is number `first` of the epoch."""
        by_step = draws.in_batches(self.signature.step.batch_size)
        for table, values in (
            (self._order, by_step.order),
            (self._shifts, by_step.shifts),
            (self._flips, by_step.flips),
        ):
            self._copy(table[: len(values)], values)
        self._position.fill_(first)

    def load_rows(self, first: int, rows: Sequence[Sequence[float]]) -> None:
        """Load the scalars of the optimizer for the steps of the epoch from number `first` on."""
        self._copy(self._rows[first : first + len(rows)], torch.tensor(rows, dtype=torch.float32))

    def __call__(self) -> Tensor:
        """Make the next step of the epoch, and return its loss, a tensor () on the device."""
        if self._may_capture and not self.graph:
            self._may_capture = self._capture()
        if self.graph:
            self.graph.replay()
        else:
            self.eager()
        return self._loss.clone()

    def eager(self) -> None:
        """Make the next step of the epoch without a graph, kernel by kernel."""
        self._compilation.run(self._make)

    def _make(self) -> None:
        chosen, shifts, flips, row = (
            table.index_select(0, self._position).squeeze(0)
            for table in (self._order, self._shifts, self._flips, self._rows)
        )
        parameters = self.optimizer.parameters
        pixels = self._crops.pixels.index_select(0, self._places(chosen, shifts, flips))
        loss = self._forward(pixels, self._labels.index_select(0, chosen))
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        self._gradients = [
            torch.zeros_like(parameter) if gradient is None else gradient
            for parameter, gradient in zip(parameters, gradients, strict=True)
        ]
        self._update(self._gradients, row)
        self._position.add_(1)
        self._loss.copy_(loss.detach())

    def _loss_of(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of images as looked-up pixels."""
        return self.train_step.loss(self._crops.normalized(pixels), labels)

    def _copy(self, table: Tensor, values: Tensor) -> None:
        """Copy values of the host into a table. The host does not wait for the device."""
        pinned = values.pin_memory() if table.is_cuda else values
        table.copy_(pinned, non_blocking=True)

    def _state(self) -> list[Tensor]:
        """Return the tensors that a step changes."""
        return [*self.optimizer.tensors(), *self.train_step.net.buffers(), self._position, self._loss]

    def _capture(self) -> bool:
        """Capture the step. Return True if the graph reproduces it. The state does not change."""
        self.captures += 1
        before, row = [tensor.clone() for tensor in self._state()], self._rows.clone()
        # A schedule may begin at a rate of 0, which would hide an error of the update.
        self._rows[:] = torch.tensor(self.optimizer.probe(), device=row.device)
        try:
            with torch.cuda.device(self.train_step.device):
                graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
                stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(stream):
                    for _ in range(WARM_UP_STEPS):
                        self._restore(before)
                        self.eager()
                torch.cuda.current_stream().wait_stream(stream)
                eager_gradient = torch.cat([gradient.flatten() for gradient in self._gradients])
                self._restore(before)
                with torch.cuda.graph(graph):
                    self.eager()
                self._restore(before)
                graph.replay()
                gradients, change = [gradient.clone() for gradient in self._gradients], self._change(before)
                self._restore(before)
                # With the same gradients, because Adam and Muon enlarge small differences of them.
                self._update(gradients, self._rows[0])
                gradient = torch.cat([one.flatten() for one in gradients])
                differences = _difference(gradient, eager_gradient), _difference(change, self._change(before))
        except RuntimeError as error:
            print(f"training without a CUDA graph: {error}", flush=True)
            return False
        finally:
            self._restore(before)
            self._rows.copy_(row)
        if not (differences[0] <= GRADIENT_TOLERANCE and differences[1] <= UPDATE_TOLERANCE):
            percents = " and ".join(f"{100 * difference:.1f} %" for difference in differences)
            print(
                f"training without a CUDA graph: its gradients and its update differ from eager ones by {percents}",
                flush=True,
            )
            return False
        self.graph = graph
        return True

    def _change(self, before: Sequence[Tensor]) -> Tensor:
        """Return what a step added to the weights and to the buffers of the optimizer."""
        tensors = self.optimizer.tensors()
        return torch.cat([after - old for after, old in zip(tensors, before[: len(tensors)], strict=True)])

    def _restore(self, before: Sequence[Tensor]) -> None:
        for tensor, old in zip(self._state(), before, strict=True):
            tensor.copy_(old)


def _difference(vector: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference, relative to the norm of `expected`."""
    return float((vector - expected).norm() / expected.norm())


def can_capture(device: torch.device) -> bool:
    """Return True if a device has CUDA graphs."""
    return device.type == "cuda"
