"""A server in this process, and the stub of a client of it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings

__all__ = ["asking", "serving"]


@contextlib.contextmanager
def serving(repository: Path, **settings: Any) -> Iterator[tuple[Server, rpc.GRPCInferenceServiceStub]]:
    """Serve `repository` on the CPU and a free port, with these `Settings` besides; gives the server and a stub."""
    with (
        Server(Settings(repository, grpc_port=0, provider="cpu", **settings)) as server,
        grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield server, rpc.GRPCInferenceServiceStub(channel)


@contextlib.contextmanager
def asking(repository: Path, **settings: Any) -> Iterator[rpc.GRPCInferenceServiceStub]:
    """The same where only the stub is of interest."""
    with serving(repository, **settings) as (_, stub):
        yield stub
