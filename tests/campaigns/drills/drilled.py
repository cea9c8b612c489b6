"""A server that is drilled: a process, a bystander that asks it all the while, and what it takes and logs."""

import contextlib
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np

from kit.inference_requests import request
from kit.served import ServedProcess, served
from rnnserve.protos import inference_pb2 as pb

__all__ = ["INFER", "MODEL", "Bystander", "DrilledServer", "Infer", "drilled", "keep_in_flight", "points", "unread"]

MODEL = "direction_simple"
INFER = "/inference.GRPCInferenceService/ModelInfer"

UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def points(batch: int, steps: int) -> np.ndarray:
    """Walks (batch, sequence, 2) float32."""
    return np.linspace(-1, 1, batch * steps * 2, dtype=np.float32).reshape(batch, steps, 2)


class Bystander:
    """A client that asks a small question again and again, on a connection of its own.

    Attributes:
        waits: Seconds that each answer took.
        failures: What it was told instead of an answer.
    """

    def __init__(self, port: int) -> None:
        self.waits: list[float] = []
        self.failures: list[str] = []
        self._asked_at: float | None = None
        self._port = port
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> "Bystander":
        self._thread.start()
        while not self.waits and not self.failures:
            time.sleep(0.01)
        self.waits.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join(60)

    @property
    def longest(self) -> float:
        """Seconds of its longest wait, that for an answer that has not come yet included."""
        asked_at = self._asked_at
        return max([*self.waits, 0.0 if asked_at is None else time.perf_counter() - asked_at])

    def _ask(self) -> None:
        question = request(MODEL, {"input": points(1, 4)}, ["logits"]).SerializeToString()
        with grpc.insecure_channel(f"127.0.0.1:{self._port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
            infer = channel.unary_unary(INFER)
            answer = infer(question, timeout=60)
            while not self._ends.is_set():
                started = self._asked_at = time.perf_counter()
                try:
                    if infer(question, timeout=60) != answer:
                        self.failures.append("another answer")
                except grpc.RpcError as error:
                    self.failures.append(f"{error.code().name}: {error.details()}")
                self.waits.append(time.perf_counter() - started)
                self._asked_at = None
                time.sleep(2e-3)


class Infer:
    """One connection of a client that asks for ModelInfer with bytes."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)])
        self.call = self.channel.unary_unary(INFER)

    def said(self, payload: bytes, *, gzip: bool = False) -> str:
        """Send bytes; give the status's name and its message."""
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
        peak: The highest resident memory so far, in bytes.
    """

    def __init__(self, server: ServedProcess) -> None:
        self.server = server
        self.port = server.port
        self.peak = 0
        self._ends = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "DrilledServer":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._watcher.join()

    @property
    def resident(self) -> int:
        """Resident memory in bytes."""
        pages = Path(f"/proc/{self.server.process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize()

    def _watch(self) -> None:
        while not self._ends.wait(5e-3):
            self.peak = max(self.peak, self.resident)

    def settles_below(self, most: int, seconds: float = 10) -> bool:
        """Whether resident memory falls below so many bytes within some seconds."""
        deadline = time.monotonic() + seconds
        while self.resident >= most:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


@contextlib.contextmanager
def drilled(repository: Path, *options: str) -> Iterator[DrilledServer]:
    """Serve `repository` in a process. After the block it must still run, have logged no traceback, and end well."""
    with served(repository, "process", options=options) as server, DrilledServer(server) as watched:
        yield watched
        assert not server.has_ended, server.log
    assert "Traceback" not in server.log, server.log
    assert "internal error" not in server.log, server.log


def unread(client: Infer, payload: bytes) -> grpc.Call:
    """Send bytes and read no response: it waits at the server, but for what one window of flow control takes."""
    call: grpc.Call = client.channel.unary_stream(INFER)(payload, timeout=60)  # type: ignore[arg-type]
    return call


def keep_in_flight(port: int, payload: bytes, count: int, seconds: float) -> int:
    """Keep as many calls in flight as told, on one connection for each 128, and give how many were answered."""
    clients = [Infer(port) for _ in range(-(-count // 128))]
    answered, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        futures = [client.call.future(payload, timeout=60) for client in clients for _ in range(count // len(clients))]
        answered += sum(future.exception() is None for future in futures)
    return answered


def message(**fields: object) -> bytes:
    """A ModelInferRequest of these fields as bytes."""
    return pb.ModelInferRequest(**fields).SerializeToString()  # type: ignore[arg-type]
