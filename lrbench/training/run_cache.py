"""The data sets and the train step that a process keeps from run to run, so that it stays warm."""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from lrbench.config.paths import data_root
from lrbench.data.dataset import Dataset, load_dataset
from lrbench.spec import DataSpec, TrialSpec
from lrbench.text import Log
from lrbench.training.train_step import StepSignature, TrainStep

MAX_DATASETS = 2  # a sweep has two: for its search and for its final runs


class RunCache:
    """The last data sets on their device, and the last train step with its CUDA graph.

    A process trains one run at a time with it. `root` is the folder of the data files, the default
    cache if None.
    """

    def __init__(self, root: Path | None = None) -> None:
        self._root = root or data_root()
        self._datasets: OrderedDict[tuple[str, torch.device], Dataset] = OrderedDict()
        self._step: TrainStep | None = None

    def dataset(self, spec: DataSpec, device: torch.device, log: Log = print) -> Dataset:
        """Return the data set of `spec` on `device`, loaded unless it is one of the last two.

        Raises ConfigError.
        """
        key = spec.model_dump_json(), device
        if key not in self._datasets:
            self._datasets[key] = load_dataset(spec, device, self._root, log)
        self._datasets.move_to_end(key)
        while len(self._datasets) > MAX_DATASETS:
            self._datasets.popitem(last=False)
        return self._datasets[key]

    def train_step(self, spec: TrialSpec, network: nn.Module) -> TrainStep:
        """Return a train step whose network has the weights of `network`.

        If the signature is the previous run's, it is the same step with the same CUDA graph. So the
        previous run must have ended.
        """
        signature = StepSignature.of(spec)
        if self._step is None or self._step.signature != signature:
            self._step = None  # frees its memory before the next one is built
            self._step = TrainStep(signature, network)
        else:
            self._step.load(network)
        return self._step
