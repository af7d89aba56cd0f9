"""The data sets and the train steps that a process keeps from run to run, so that it stays warm."""

import gc
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from lrbench.config.paths import data_root
from lrbench.data.dataset import Dataset, load_dataset
from lrbench.spec import DataSpec, TrialSpec
from lrbench.text import Log
from lrbench.training.compilation import keep_compiled_code
from lrbench.training.device_step import DeviceStep, DeviceStepSignature
from lrbench.training.table_optimizers import table_rules
from lrbench.training.train_step import StepSignature, TrainStep

MAX_DATASETS = 2  # a sweep has two: for its search and for its final runs
MAX_DEVICE_STEPS = 2  # a sweep has two: with the config's optimizer and with Schedule-Free


class RunCache:
    """The last data sets on their device, the last train step, and the last device steps.

    A process trains one run at a time with it. `root` is the folder of the data files, the default
    cache if None. `compilation_pays` is True if the process will make many steps.
    """

    def __init__(self, root: Path | None = None, *, compilation_pays: bool = False) -> None:
        self._root, self.compilation_pays = root or data_root(), compilation_pays
        keep_compiled_code(self._root)
        self._datasets: OrderedDict[tuple[str, torch.device], Dataset] = OrderedDict()
        self._step: TrainStep | None = None
        self._device_steps: OrderedDict[DeviceStepSignature, DeviceStep] = OrderedDict()

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

        If the signature is the previous run's, it is the same step. So the previous run must have
        ended.
        """
        signature = StepSignature.of(spec, compilation_pays=self.compilation_pays)
        if self._step is None or self._step.signature != signature:
            self._step = None  # frees its memory before the next one is built
            self._step = TrainStep(signature, network)
        else:
            self._step.load(network)
        return self._step

    def device_step(self, spec: TrialSpec, network: nn.Module, data: Dataset) -> DeviceStep | None:
        """Return a device step at the beginning of a run of `spec`, with the weights of `network`.

        A later run with the same signature gets the same step with its CUDA graph. So the earlier
        run must have ended. Returns None if the run trains kernel by kernel.
        """
        if not uses_device_step(spec):
            return None
        groups = table_rules(spec, network)
        if groups is None:
            print(f"training without a CUDA graph: it has no form of optimizer={spec.optimizer.name}", flush=True)
            return None
        rules = [rule for rule, _ in groups]
        signature = DeviceStepSignature.of(spec, rules, compilation_pays=self.compilation_pays)
        if signature not in self._device_steps:
            while len(self._device_steps) >= MAX_DEVICE_STEPS:
                self._device_steps.popitem(last=False)
                gc.collect()  # a step has cycles of references, and its graph holds memory of the GPU
            self._device_steps[signature] = DeviceStep(signature, spec, network, data)
        self._device_steps.move_to_end(signature)
        step = self._device_steps[signature]
        step.start(network, rules, data)
        return step

    def drop_steps(self) -> None:
        """Free the memory of the train steps, after a run that failed."""
        self._step = None
        self._device_steps.clear()


def uses_device_step(spec: TrialSpec) -> bool:
    """Return True if a run trains with a device step, which pays on a GPU only."""
    return spec.device.startswith("cuda") and spec.train.graph == "auto"
