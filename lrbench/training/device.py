"""This machine: the device that `auto` means here, and the facts that a result depends on."""

import os
import platform
from pathlib import Path

import torch

from lrbench.spec import ConfigError, DeviceInfo


def resolve_device(wanted: str) -> DeviceInfo:
    """Return the device that `wanted` (auto, cpu, cuda or cuda:1) means here.

    Raises ConfigError if there is no such GPU.
    """
    gpus = torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if wanted == "cpu" or (wanted == "auto" and not gpus):
        return DeviceInfo(device="cpu", gpus=gpus, cores=cores, bfloat16=_cpu_has_bfloat16())
    number = int(wanted.partition(":")[2] or 0)
    if number >= gpus:
        raise ConfigError(
            f"device={wanted}: must be a GPU of this machine; torch sees {gpus} GPUs. Use device=cpu or device=auto."
        )
    bfloat16 = torch.cuda.get_device_capability(number) >= (8, 0)
    return DeviceInfo(device=f"cuda:{number}", gpus=gpus, cores=cores, bfloat16=bfloat16)


def _cpu_has_bfloat16() -> bool:
    """Return True if the CPU computes in bfloat16.

    Without these instructions, bfloat16 is ten times slower than float32.
    """
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def run_environment(device: torch.device) -> dict[str, str]:
    """Return the facts outside of its spec that a result depends on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "device": name,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
