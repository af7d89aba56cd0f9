"""Muon for the hidden weight matrices, and AdamW for the other parameters
(https://kellerjordan.github.io/posts/muon).
"""

from typing import Any

import torch
from torch import nn

from lrbench.spec import ConfigError, TrialSpec
from lrbench.training.optimizers import Optimizers, build_optimizer, parameter_groups

HEAD = "head.weight"  # the name of the classifier's weights, which AdamW trains
ADAMW_BETAS = (0.9, 0.95)


def build(spec: TrialSpec, net: nn.Module) -> Optimizers:
    """Return Muon and AdamW as one object.

    Raises ConfigError if the network has filters that are not matrices.
    """
    weights, *others = split_groups(spec, net)
    return Optimizers([build_optimizer(spec, [weights]), torch.optim.AdamW(others, betas=ADAMW_BETAS, fused=True)])


def split_groups(spec: TrialSpec, net: nn.Module) -> list[dict[str, Any]]:
    """Return the parameter group of Muon, then the groups of AdamW.

    Raises ConfigError as `build` does.
    """
    weights, others, *frozen = parameter_groups(spec, net)
    matrices: list[Any] = weights["params"]
    head = dict(net.named_parameters()).get(HEAD)
    has_filters = any(weight.ndim > 2 for weight in matrices)
    if head is None or has_filters:
        problem = "filters that are not matrices" if has_filters else f"no {HEAD}"
        raise ConfigError(
            f"optimizer=muon: must have a network of weight matrices with a {HEAD}; "
            f"model={spec.model.name} has {problem}. Use model=fast or model=fast_quarter."
        )
    weights["params"] = [weight for weight in matrices if weight is not head]
    others["params"] = [*others["params"], head]
    return [weights, others, *frozen]
