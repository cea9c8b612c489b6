"""The three classifiers that `rnnserve train` writes, trained once for all tests."""

import pytest
import torch

from rnnserve.models import ARCHITECTURES, Accuracies, Schedule, Trained, TrainingReport, load_checkpoint


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models of this size are not faster with a second thread, and wait for it on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trained(checkpoints) -> dict[str, Trained]:
    return {name: _trained(checkpoints / name) for name in ARCHITECTURES}


def _trained(folder):
    checkpoint = load_checkpoint(folder)
    entries = checkpoint.training
    report = TrainingReport(
        **entries | {"schedule": Schedule(**entries["schedule"]), "accuracies": Accuracies(**entries["accuracies"])}
    )
    return Trained(checkpoint.classifier, report)
