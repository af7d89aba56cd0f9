import torch

from lrbench.training.device import resolve_device
from lrbench.training.throughput import measure_throughput
from tests.conftest import Spec


def test_it_needs_no_data(spec: Spec) -> None:
    """CIFAR-10 is not read: its images are blank here."""
    threads = torch.get_num_threads()
    run = spec("data=cifar10", "data.train_images=null", "data.root=/nowhere", "model.args.width=0.1")
    throughput = measure_throughput(run.resolved(resolve_device("cpu")))
    torch.set_num_threads(threads)
    assert 0 < throughput.step < 10
    assert 0 < throughput.image < 1
