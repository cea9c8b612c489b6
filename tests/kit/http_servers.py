"""Fixtures of tests over HTTP: `rnnserve serve` with HTTP beside gRPC, on the trained models."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kit.served import ServedProcess, served
from rnnserve.web.app import large_bodies

__all__ = ["SETTINGS", "no_process_is_left", "web_server"]

SETTINGS: dict[str, Any] = {"http_port": 0, "model_control": "explicit", "load_model": "*"}


@pytest.fixture(scope="session")
def web_server(repository: Path) -> Iterator[ServedProcess]:
    """The process, which speaks HTTP at its `http_address`."""
    with served(repository, "process", **SETTINGS) as process:
        yield process
        assert "Traceback" not in process.log


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left() -> Iterator[None]:
    """End the process that reads large bodies, which lives on for some seconds."""
    yield
    large_bodies._PROCESS_THREAD.submit(large_bodies._READER._end).result()
