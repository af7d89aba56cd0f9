"""Networks of the config's models, for the tests of this folder."""

import torch
from torch import nn

from lrbench.config.compose import load_config, parse_spec
from lrbench.data.dataset import Dataset, blank_dataset
from lrbench.spec import TrialSpec
from lrbench.training.run_cache import RunCache
from lrbench.training.trainer import build_network

CPU = torch.device("cpu")


def model_spec(model: str, *overrides: str) -> TrialSpec:
    """Return a run with a model at its default size, on synthetic images."""
    return parse_spec(load_config("config", ["data=synthetic", "device=cpu", f"model={model}", *overrides]))


def dataset(spec: TrialSpec) -> Dataset:
    """Return the data of a run."""
    return RunCache().dataset(spec.data, CPU)


def network(model: str, *overrides: str) -> nn.Module:
    """Return the network of such a run."""
    spec = model_spec(model, *overrides)
    return build_network(spec, dataset(spec))


def network_for(model: str, *overrides: str, image_size: int, classes: int = 10) -> nn.Module:
    """Return the network for black images of another size."""
    spec = model_spec(model, *overrides)
    blank = blank_dataset(spec.data, 64, CPU)
    pixels = torch.zeros(64, image_size, image_size, 3, dtype=torch.uint8)
    split = type(blank.train)(pixels, blank.train.labels)
    return build_network(spec, Dataset(split, split, split, classes, image_size, blank.mean, blank.std))
