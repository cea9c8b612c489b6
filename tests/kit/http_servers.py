"""Fixtures of tests over HTTP: `rnnserve serve` with HTTP beside gRPC, on the trained models."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.served_process import ServedProcess, serve_repository
from rnnserve.web.app import large_bodies

__all__ = ["OPTIONS", "no_process_is_left", "served"]

OPTIONS = ("--http-port", "0", "--provider", "cpu", "--model-control", "explicit", "--load-model", "*")


@pytest.fixture(scope="session")
def served(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServedProcess, str]]:
    """The process, and where it speaks HTTP: "127.0.0.1:8000"."""
    with serve_repository(repository, tmp_path_factory.mktemp("served") / "log", *OPTIONS) as process:
        yield process, process.http_address()
        assert "Traceback" not in process.log()


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left() -> Iterator[None]:
    """End the process that reads large bodies, which lives on for some seconds."""
    yield
    large_bodies._PROCESS_THREAD.submit(large_bodies._READER._end).result()
