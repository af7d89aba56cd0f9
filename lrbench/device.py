"""What this machine is: which device a config's `auto` means, and what a result depends on beside its spec."""

import os
import platform
from pathlib import Path

import torch

from lrbench.spec import ConfigError, Machine


def machine(wanted: str) -> Machine:
    """Return what device `wanted` (auto, cpu, cuda, cuda:1) means here. Raises ConfigError for a GPU that is not there."""
    gpus = torch.cuda.device_count()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if wanted == "cpu" or (wanted == "auto" and not gpus):
        features = torch.cpu.get_capabilities()  # without the instructions, bfloat16 is ten times slower than float32
        return Machine(device="cpu", gpus=gpus, cores=cores, bfloat16=bool(features.get("avx512_bf16") or features.get("amx_bf16")))
    number = int(wanted.partition(":")[2] or 0)
    if number >= gpus:
        raise ConfigError(f"device={wanted}: torch sees {gpus} GPUs here; device=cpu or device=auto will do")
    return Machine(device=f"cuda:{number}", gpus=gpus, cores=cores, bfloat16=torch.cuda.get_device_capability(number) >= (8, 0))


def environment(device: torch.device) -> dict[str, str]:
    """Return what a result depends on beside its spec."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"device": name, "torch": torch.__version__, "python": platform.python_version(), "platform": platform.platform()}


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
