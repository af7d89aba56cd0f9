"""The weights of a parameter group as one vector."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class WeightVector:
    """The weights of a parameter group as one vector, which the parameters are views of.

    So an optimizer needs few kernels.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], buffers: Sequence[str]) -> None:
        self.parameters = list(parameters)
        self.weights = torch.cat([as_vector(parameter.data) for parameter in self.parameters])
        for parameter, values in zip(self.parameters, self.shaped(self.weights), strict=True):
            parameter.data = values
        self.buffers = {name: torch.zeros_like(self.weights) for name in buffers}

    def shaped(self, vector: Tensor) -> list[Tensor]:
        """Return the parts of a vector in the shapes of the parameters, as views."""
        parts = torch.split(vector, [parameter.numel() for parameter in self.parameters])
        return [_in_shape(part, parameter) for part, parameter in zip(parts, self.parameters, strict=True)]

    def reset(self) -> None:
        """Put the buffers at their values before the first step."""
        for name, buffer in self.buffers.items():
            buffer.copy_(self.weights) if name == "newest" else buffer.zero_()


def as_vector(tensor: Tensor) -> Tensor:
    """Return the values in the order of channels_last, which filters and their gradients have."""
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).reshape(-1)


def _in_shape(part: Tensor, like: Tensor) -> Tensor:
    if like.ndim != 4:
        return part.view(like.shape)
    out, channels, height, width = like.shape
    return part.view(out, height, width, channels).permute(0, 3, 1, 2)
