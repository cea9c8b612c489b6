"""One server with HTTP beside gRPC, as `rnnserve serve` makes it, on the trained models."""

import pytest

from support.served_process import serve_repository

OPTIONS = ("--http-port", "0", "--provider", "cpu", "--model-control", "explicit", "--load-model", "*")


@pytest.fixture(scope="session")
def served(repository, tmp_path_factory):
    """The process, and where it speaks HTTP: "127.0.0.1:8000"."""
    log = tmp_path_factory.mktemp("served") / "log"
    with serve_repository(repository, log, *OPTIONS) as process:
        yield process, process.http_address()
        assert "Traceback" not in process.log()
