"""Options, and the real thing that several areas test against: the three classifiers, trained and published once."""

import importlib
import os
import sys
from pathlib import Path

import coverage
import pytest

from rnnserve.cli import main
from rnnserve.server.transport.polling import choose_polling
from support import torch_unmeasured

if choose_polling():  # before anything imports grpc, as `rnnserve serve` does
    importlib.import_module("grpc")
    del os.environ["GRPC_EXPERIMENTS"]  # the servers that tests start choose by themselves


def pytest_addoption(parser):
    parser.addoption("--malformed", type=int, default=2000, help="how many malformed requests to send to a server")
    parser.addoption(
        "--checkpoints", type=Path, help="folder of trained classifiers to use; trained into it if it does not exist"
    )


def pytest_collection_finish():
    if coverage.Coverage.current() is not None and "torch" in sys.modules:
        torch_unmeasured.leave_out()


def pytest_runtest_setup(item):
    torch_unmeasured.follow(item.nodeid.startswith(torch_unmeasured.FOLLOWED))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory, pytestconfig):
    """What `rnnserve train` makes."""
    kept = pytestconfig.getoption("--checkpoints")
    if kept is not None and kept.exists():
        return kept
    folder = kept or tmp_path_factory.mktemp("trained") / "checkpoints"
    assert main(["train", "--checkpoints", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def repository(checkpoints, tmp_path_factory):
    """What `rnnserve export` publishes."""
    folder = tmp_path_factory.mktemp("published") / "repository"
    assert main(["export", "--checkpoints", str(checkpoints), "--repository", str(folder)]) == 0
    return folder
