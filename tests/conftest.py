"""Options, and the real thing that several areas test against: the three classifiers, trained and published once."""

import pytest

from rnnserve.cli import main
from rnnserve.server.transport.polling import choose_polling

choose_polling()  # before anything imports grpc, as `rnnserve serve` does


def pytest_addoption(parser):
    parser.addoption("--malformed", type=int, default=2000, help="how many malformed requests to send to a server")


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """What `rnnserve train` makes."""
    folder = tmp_path_factory.mktemp("trained") / "checkpoints"
    assert main(["train", "--checkpoints", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def repository(checkpoints):
    """What `rnnserve export` publishes."""
    folder = checkpoints.parent / "repository"
    assert main(["export", "--checkpoints", str(checkpoints), "--repository", str(folder)]) == 0
    return folder
