"""An attack over gRPC, its resources, and its effect on the server and on a bystander."""

import dataclasses
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
import numpy as np

from campaigns.drills.bystander import Bystander, Sighting
from campaigns.drills.drilled import MODEL, Memory
from campaigns.drills.http2 import Http2Connection
from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb

_SERVICE = "/inference.GRPCInferenceService/"

_CHANNEL = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 64 << 20),
    ("grpc.use_local_subchannel_pool", 1),
]

_LONGEST_CALL = 20.0
"""Seconds after the attack's own that an answer is waited for: a server that is busy that long is noted as such."""

_RECOVERY = 30.0
"""Seconds that a method may take until it answers again after an attack, before it counts as gone."""


class Answers:
    """Counts a server's answers, and keeps the first text of each status. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.texts: dict[str, str] = {}

    def note(self, status: str, text: str = "") -> None:
        """Count an answer: a gRPC status, or the end of a connection."""
        with self._lock:
            self.counts[status] += 1
            self.texts.setdefault(status, text)


class Strike:
    """One run of an attack.

    Attributes:
        host: The server's host.
        port: The server's port.
        channel: A channel to the server, separate from the bystander's.
        answers: The server's answers.
        until: End of the attack, on the clock of `time.monotonic`.
        valid: A valid ModelInferRequest.
    """

    def __init__(self, address: str, channel: grpc.Channel, until: float) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self.channel, self.until = channel, until
        self.answers = Answers()
        self.valid = self.request().SerializeToString()

    def request(self, batch: int = 1, steps: int = 4) -> pb.ModelInferRequest:
        """Return a valid request for all outputs, with zeros as input."""
        return request(MODEL, {"input": np.zeros((batch, steps, 2), np.float32)})

    def zeros(self) -> bytes:
        """Return a request with 15 MB of zeros as data, which gzip compresses to 15 kB."""
        message = self.request()
        message.raw_input_contents[0] = bytes(15_000_000)
        return message.SerializeToString()

    def connect(self, *settings: tuple[int, int]) -> Http2Connection:
        """Open a connection on which the attack writes frames by hand."""
        return Http2Connection(self.host, self.port, settings)

    def path(self, method: str) -> str:
        """Return the full name of a method of the service. A name that begins with a slash is already full."""
        return method if method.startswith("/") else _SERVICE + method

    def left(self) -> float:
        """Seconds until the end of the attack, at least 0."""
        return max(0.0, self.until - time.monotonic())

    def flood(self, method: str, payloads: Iterable[bytes], *, in_flight: int = 32, **more: Any) -> None:
        """Call a method with each payload until the time is over, several at a time. Count the answers."""
        send: Any = self.channel.unary_unary(self.path(method))
        waiting: deque[Any] = deque()
        for payload in payloads:
            if waiting and not self.left():
                break
            waiting.append(send.future(payload, timeout=self.left() + _LONGEST_CALL, **more))
            if len(waiting) >= in_flight:
                self._note(waiting.popleft())
        for answer in waiting:
            self._note(answer)

    def _note(self, answer: Any) -> None:
        try:
            answer.result()
        except grpc.FutureCancelledError:
            self.answers.note("CANCELLED", "by the client's library")
        except grpc.RpcError as error:
            self.answers.note(error.code().name, error.details() or "")
        else:
            self.answers.note("OK")


@dataclasses.dataclass(frozen=True)
class Attack:
    """A way to harm a server: its name, its class of attack, and the function that attacks."""

    name: str
    kind: str
    run: Callable[[Strike], None]


def attack(kind: str, name: str = "") -> Callable[[Callable[[Strike], None]], Attack]:
    """Turn a function into an attack, named after the function or explicitly."""
    return lambda run: Attack(name or run.__name__.replace("_", "-"), kind, run)


@dataclasses.dataclass(frozen=True)
class Result:
    """The effect of an attack.

    Attributes:
        answers: The server's answers.
        seen: The bystander's report, until the server answered a new connection again.
        gone: Methods that didn't answer on a new connection after the attack.
    """

    answers: Answers
    seen: Sighting
    gone: list[str]


def strike(attack: Attack, address: str, bystander: Bystander, memory: Memory, seconds: float) -> Result:
    """Attack a server for some seconds, and wait until it has handled the requests sent by then."""
    bystander.forget()
    memory.peak = 0
    with grpc.insecure_channel(address, _CHANNEL) as channel:
        run = Strike(address, channel, time.monotonic() + seconds)
        try:
            attack.run(run)
        except OSError as error:  # the server has ended or accepts no more connections
            run.answers.note("NO CONNECTION", type(error).__name__)
        gone = list(_gone(address, run))
    return Result(run.answers, bystander.report(), gone)


def _gone(address: str, run: Strike) -> Iterator[str]:
    """Yield the methods that don't answer on a new connection. Servers run inference on separate threads."""
    metadata = pb.ModelMetadataRequest(name=MODEL).SerializeToString()
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        for method, payload in {"ModelInfer": run.valid, "ServerLive": b"", "ModelMetadata": metadata}.items():
            send: Any = channel.unary_unary(run.path(method))
            if send.future(payload, timeout=_RECOVERY, wait_for_ready=True).exception() is not None:
                yield method
