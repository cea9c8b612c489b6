"""A server under a drill: its process, a bystander that sends requests to it, its memory and its log."""

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np

from campaigns.drills.wire.resident_memory import ResidentMemory, resident_bytes, settles_below
from kit.inference_requests import request
from kit.served import ServedProcess, served

__all__ = ["INFER", "MODEL", "SMALL", "DrilledServer", "Infer", "drilled", "keep_in_flight", "points"]

MODEL = "direction_simple"
INFER = "/inference.GRPCInferenceService/ModelInfer"
PATIENCE = 60.0

UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def points(batch: int, steps: int) -> np.ndarray:
    """Walks (batch, sequence, 2) float32."""
    return np.linspace(-1, 1, batch * steps * 2, dtype=np.float32).reshape(batch, steps, 2)


SMALL = request(MODEL, {"input": points(1, 4)}, ["logits"]).SerializeToString()
"""The bystander's request."""


class Infer:
    """One connection of a client that asks for ModelInfer with bytes."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)])
        self.call = self.channel.unary_unary(INFER)

    def said(self, payload: bytes, *, gzip: bool = False) -> str:
        """Send bytes. Return the name of the status and its message."""
        compression = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
        try:
            self.call(payload, timeout=180, compression=compression)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "OK: "


class DrilledServer:
    """A server in a process, whose memory is watched.

    Attributes:
        server: The server.
        port: Where it listens.
    """

    def __init__(self, server: ServedProcess, memory: ResidentMemory) -> None:
        self.server, self.port, self._memory = server, server.port, memory

    @property
    def peak(self) -> int:
        """The highest resident memory so far, in bytes."""
        return self._memory.peak

    @property
    def resident(self) -> int:
        """Resident memory in bytes."""
        return resident_bytes(self.server.process.pid)

    def settles_below(self, most: int, seconds: float = 10) -> bool:
        """Whether resident memory falls below so many bytes within some seconds."""
        return settles_below(lambda: self.resident, most, seconds)


@contextlib.contextmanager
def drilled(repository: Path, *options: str) -> Iterator[DrilledServer]:
    """Serve `repository` in a process. After the block it must still run, have logged no traceback, and end well."""
    with served(repository, "process", options=options) as server:
        with ResidentMemory(server.process.pid) as memory:
            yield DrilledServer(server, memory)
        assert not server.has_ended, server.log
    assert "Traceback" not in server.log, server.log
    assert "internal error" not in server.log, server.log


def keep_in_flight(port: int, payload: bytes, count: int, seconds: float) -> Counter[str]:
    """Keep as many calls in flight on one connection, each reopened by the answer; give the statuses, by their name."""
    client, said, are_done = Infer(port), Counter[str](), threading.Event()
    ends, left = time.monotonic() + seconds, itertools.count(1)

    def ask():
        client.call.future(payload, timeout=PATIENCE).add_done_callback(take)

    def take(call):
        said[call.code().name] += 1
        if time.monotonic() < ends:
            ask()
        elif next(left) == count:
            are_done.set()

    for _ in range(count):
        ask()
    assert are_done.wait(PATIENCE)
    return said
