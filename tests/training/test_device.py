import pytest
import torch

from lrbench.spec import ConfigError
from lrbench.training.device import resolve_device, run_environment


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes torch report two GPUs, the second without bfloat16."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: [(9, 0), (7, 5)][number])


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("wanted", "device", "bfloat16"),
    [("auto", "cuda:0", True), ("cuda", "cuda:0", True), ("cuda:1", "cuda:1", False)],
)
def test_gpus(wanted: str, device: str, bfloat16: bool) -> None:
    found = resolve_device(wanted)
    assert (found.device, found.gpus, found.bfloat16) == (device, 2, bfloat16)


@pytest.mark.usefixtures("two_gpus")
def test_the_cpu_of_a_machine_with_gpus() -> None:
    assert resolve_device("cpu").device == "cpu"
    with pytest.raises(ConfigError, match=r"device=cuda:2: must be a GPU of this machine; torch sees 2 GPUs\."):
        resolve_device("cuda:2")


def test_auto_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve_device("auto").device == "cpu"
    assert resolve_device("auto").cores >= 1


@pytest.mark.parametrize("instructions", [["avx512_bf16"], ["amx_bf16"], []])
def test_bfloat16_of_a_cpu(monkeypatch: pytest.MonkeyPatch, instructions: list[str]) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))
    assert resolve_device("cpu").bfloat16 is bool(instructions)


def test_environment_of_a_run() -> None:
    environment = run_environment(torch.device("cpu"))
    assert set(environment) == {"device", "torch", "python", "platform"}
    assert all(environment.values())
