"""The older names of `kit.served.served` in this process."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kit.served import served
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server

__all__ = ["asking", "serving"]


@contextlib.contextmanager
def serving(repository: Path, **settings: Any) -> Iterator[tuple[Server, rpc.GRPCInferenceServiceStub]]:
    """Give the server and a stub."""
    with served(repository, **settings) as running:
        yield running.server, running.stub


@contextlib.contextmanager
def asking(repository: Path, **settings: Any) -> Iterator[rpc.GRPCInferenceServiceStub]:
    """Give the stub."""
    with served(repository, **settings) as running:
        yield running.stub
