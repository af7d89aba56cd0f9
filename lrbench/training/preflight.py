"""Checks before training.

Can the runs be trained on this machine, and do their schedules look wrong?
"""

from collections.abc import Sequence

import torch

from lrbench.data.dataset import blank_dataset
from lrbench.schedules.diagnostics import schedule_warnings
from lrbench.schedules.table import schedule_table
from lrbench.spec import DeviceInfo, TrialSpec
from lrbench.text import Log
from lrbench.training.device import resolve_device
from lrbench.training.optimizers import build_optimizers
from lrbench.training.run_cache import RunCache
from lrbench.training.trainer import build_network

BLANK_IMAGES = 64  # enough to compute a network's whitening filters


def preflight(specs: Sequence[TrialSpec], run_cache: RunCache, log: Log) -> DeviceInfo:
    """Check the runs as `check_specs` does, then load their data, and return the device.

    Raises ConfigError.
    """
    device = check_specs(specs, log)
    run_cache.dataset(specs[0].data, torch.device(device.device), log)
    return device


def check_specs(specs: Sequence[TrialSpec], log: Log) -> DeviceInfo:
    """Check that the runs can be trained here, and return the device.

    Logs the warnings about their schedules. The specs differ only in their schedulers. Raises
    ConfigError if a schedule, the network, an optimizer or the device is invalid.
    """
    tables = [schedule_table(spec) for spec in specs]
    device = resolve_device(specs[0].device)
    net = build_network(specs[0], blank_dataset(specs[0].data, BLANK_IMAGES, torch.device("cpu")))
    for spec, table in zip(specs, tables, strict=True):
        build_optimizers(spec, net)
        for warning in schedule_warnings(spec, table):
            log(f"{spec.scheduler.name}: {warning}")
    return device
