"""One server with HTTP beside gRPC, as `rnnserve serve` makes it, on the trained models."""

import pytest

from kit.served_process import serve_repository
from rnnserve.web.app import large_bodies

OPTIONS = ("--http-port", "0", "--provider", "cpu", "--model-control", "explicit", "--load-model", "*")


@pytest.fixture(scope="session")
def served(repository, tmp_path_factory):
    """The process, and where it speaks HTTP: "127.0.0.1:8000"."""
    log = tmp_path_factory.mktemp("served") / "log"
    with serve_repository(repository, log, *OPTIONS) as process:
        yield process, process.http_address()
        assert "Traceback" not in process.log()


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left():
    """A front that ends within seconds of a large body leaves the process that has read it to the end of its own."""
    yield
    large_bodies._PROCESS_THREAD.submit(large_bodies._READER._end).result()
