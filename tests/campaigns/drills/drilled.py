"""A server under a drill: its process, its bystanders, its memory and its log."""

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from campaigns.drills.bystander import Bystander, Sighting
from kit.inference_requests import request
from kit.served import ServedProcess, served_process

MODEL = "direction_simple"
INFER = "/inference.GRPCInferenceService/ModelInfer"
PATIENCE = 120.0

_UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def points(batch: int, steps: int) -> np.ndarray:
    """Walks (batch, sequence, 2) float32."""
    return np.linspace(-1, 1, batch * steps * 2, dtype=np.float32).reshape(batch, steps, 2)


SMALL = request(MODEL, {"input": points(1, 4)}, ["logits"]).SerializeToString()
"""The bystander's request."""

SMALL_JSON = (
    b'{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4,2],"data":[0,1,2,3,4,5,6,7]}],'
    b'"outputs":[{"name":"logits"}]}'
)
"""The same over HTTP."""


class Infer:
    """A client connection that sends bytes to ModelInfer."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [*_UNLIMITED, ("grpc.use_local_subchannel_pool", 1)])
        self.call: Any = self.channel.unary_unary(INFER)

    def said(self, payload: bytes, timeout: float = 180.0) -> str:
        """Send bytes, and return the status name and message."""
        try:
            self.call(payload, timeout=timeout)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return "OK: "


def keep_in_flight(port: int, payload: bytes, count: int, seconds: float, pause: float = 0.0) -> Counter[str]:
    """Keep a number of calls in flight on one connection, and count the answers.

    Args:
        port: The server's port.
        payload: The message of each call.
        count: Calls in flight.
        seconds: Duration.
        pause: Seconds between a refused call and the next one.

    Returns:
        Number of answers by status and message, as returned by `Infer.said`.
    """
    client, said, are_done = Infer(port), Counter[str](), threading.Event()
    ends, left, lock = time.monotonic() + seconds, itertools.count(1), threading.Lock()

    def send() -> None:
        client.call.future(payload, timeout=PATIENCE + seconds).add_done_callback(take)

    def take(call: Any) -> None:
        status = call.code().name
        with lock:
            said[f"{status}: {call.details() or ''}"] += 1
        if time.monotonic() >= ends:
            if next(left) == count:
                are_done.set()
        elif status == "OK" or not pause:
            send()
        else:
            threading.Timer(pause, send).start()

    for _ in range(count):
        send()
    assert are_done.wait(2 * (PATIENCE + seconds))
    return said


class Memory:
    """The resident memory of processes and their descendants, sampled in a thread inside a `with`.

    Attributes:
        peak: The largest sample, in bytes. Set it to 0 to start again.
    """

    def __init__(self, *pids: int) -> None:
        self._pids = pids
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak = 0

    def __enter__(self) -> "Memory":
        self.peak = self.now
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    @property
    def now(self) -> int:
        """Current bytes; 0 if the processes have ended."""
        total, waiting = 0, [*self._pids]
        while waiting:
            process = Path(f"/proc/{waiting.pop()}")
            try:
                status = (process / "status").read_text()
                for task in (process / "task").iterdir():
                    waiting += map(int, (task / "children").read_text().split())
            except OSError:
                continue
            total += sum(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))
        return total

    def settles_below(self, most: int, seconds: float = 10.0) -> bool:
        """Whether memory falls below this number of bytes within some seconds."""
        deadline = time.monotonic() + seconds
        while self.now >= most:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _sample(self) -> None:
        while not self._is_over.wait(0.02):
            self.peak = max(self.peak, self.now)


class Drilled:
    """A server process under a drill.

    Attributes:
        server: The server.
        port: The gRPC port.
        http_port: The gateway's HTTP port; 0 without a gateway.
        memory: The memory of the gateway's processes if there is one, otherwise of the server.
    """

    def __init__(self, server: ServedProcess, memory: Memory, bystanders: dict[str, Bystander]) -> None:
        self.server, self.port, self.memory = server, server.port, memory
        self.http_port = int(server.http_address.rpartition(":")[2]) if "HTTP" in bystanders else 0
        self._bystanders = bystanders

    def sightings(self) -> dict[str, Sighting]:
        """Measurements of the gRPC and HTTP bystanders since `forget`. Only with a gateway."""
        return {name: bystander.report() for name, bystander in self._bystanders.items()}

    def forget(self) -> None:
        """Restart the bystanders' measurements and the memory's peak."""
        self.memory.peak = 0
        for bystander in self._bystanders.values():
            bystander.forget()

    def gateway(self) -> list[int]:
        """Process ids of the gateway: one for each worker."""
        return _gateway(self.server)


def _gateway(server: ServedProcess) -> list[int]:
    found = server.children(b"\0web\0")
    assert found, server.log
    return found


@contextlib.contextmanager
def drilled(repository: Path, *options: str, http: bool = False) -> Iterator[Drilled]:
    """Serve `repository` in a process. After the block, the process must have logged no internal error, and must end
    with status 0.

    Args:
        repository: The models.
        options: Additional arguments of `rnnserve serve`.
        http: Whether to start a gateway, and bystanders over gRPC and HTTP.
    """
    with served_process(repository, options=(*options, *(["--http-port", "0"] if http else []))) as server:
        with contextlib.ExitStack() as stack:
            bystanders = {}
            if http:
                path = f"/v2/models/{MODEL}/infer"
                bystanders["gRPC"] = stack.enter_context(Bystander(server.address, SMALL))
                bystanders["HTTP"] = stack.enter_context(Bystander(server.http_address, SMALL_JSON, path))
            memory = stack.enter_context(Memory(*(_gateway(server) if http else [server.process.pid])))
            yield Drilled(server, memory, bystanders)
        assert server.is_over or not server.has_ended, server.log
    assert "Traceback" not in server.log, server.log
    assert "internal error" not in server.log, server.log
