"""The bystander: a client that sends small requests one after another, in a separate process and on a separate
connection.

A separate process, so that the attacker's interpreter doesn't slow its measurements.
"""

import contextlib
import dataclasses
import http.client
import json
import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection

import grpc

_PATH = "/inference.GRPCInferenceService/ModelInfer"
_PAUSE = 2e-3  # seconds between an answer and the next request: about 300 requests a second
_TIMEOUT = 60.0


@dataclasses.dataclass(frozen=True)
class Sighting:
    """The bystander's measurements since the last `forget`.

    Attributes:
        requests: Number of answered requests.
        failures: Number of failed requests by status.
        longest: The longest wait in seconds, including a request that is still pending.
        text: Message of the first failure.
    """

    requests: int
    failures: dict[str, int]
    longest: float
    text: str


class Bystander:
    """Controls the bystander's process. Use it in a `with` statement."""

    def __init__(self, address: str, payload: bytes, path: str = "") -> None:
        """Start to send requests, and wait for the first answer.

        Args:
            address: Host and port of the server.
            payload: A valid ModelInferRequest, or the body for `path`.
            path: A path of HTTP, for a new connection with each request; empty for gRPC.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, address, payload, path), daemon=True)
        self._process.start()
        theirs.close()
        while not self.report().requests:
            time.sleep(0.01)
        self.forget()

    def __enter__(self) -> "Bystander":
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()  # ends the process
        self._process.join()

    def report(self, *, forgets: bool = False) -> Sighting:
        """Return the measurements."""
        self._pipe.send(forgets)
        sighting: Sighting = self._pipe.recv()
        return sighting

    def forget(self) -> None:
        """Restart the measurements."""
        self.report(forgets=True)


class _Loop:
    """Sends requests endlessly, and counts the results."""

    def __init__(self, send: Callable[[], tuple[str, str]]) -> None:
        """Start with a function that sends a request and returns "OK", or another status with its message."""
        self._send = send
        self._lock = threading.Lock()
        self._sent_at: float | None = None
        self.forget()

    def forget(self) -> None:
        self._requests, self._longest, self._text = 0, 0.0, ""
        self._failures: Counter[str] = Counter()

    def run(self) -> None:
        while True:
            with self._lock:
                started = self._sent_at = time.monotonic()
            status, text = self._send()
            with self._lock:
                self._sent_at = None
                self._requests += 1
                self._longest = max(self._longest, time.monotonic() - started)
                if status != "OK":
                    self._failures[status] += 1
                    self._text = self._text or text
            time.sleep(_PAUSE if status == "OK" else 0.05)

    def report(self) -> Sighting:
        with self._lock:
            waits = 0.0 if self._sent_at is None else time.monotonic() - self._sent_at
            return Sighting(self._requests, dict(self._failures), max(self._longest, waits), self._text)


def _over_grpc(address: str, payload: bytes) -> Callable[[], tuple[str, str]]:
    call = grpc.insecure_channel(address).unary_unary(_PATH)

    def send() -> tuple[str, str]:
        try:
            call(payload, timeout=_TIMEOUT)
        except grpc.RpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""

    return send


def _over_http(address: str, payload: bytes, path: str) -> Callable[[], tuple[str, str]]:
    def send() -> tuple[str, str]:
        connection = http.client.HTTPConnection(address, timeout=_TIMEOUT)
        try:
            connection.request("POST", path, payload, {"Content-Type": "application/json"})
            reply = connection.getresponse()
            said = reply.read()
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__, repr(error)
        finally:
            connection.close()
        if reply.status != 200:
            return str(reply.status), said.decode(errors="replace")
        return "OK" if "outputs" in json.loads(said) else "ANOTHER ANSWER", ""

    return send


def _run(pipe: Connection, address: str, payload: bytes, path: str) -> None:
    """Run in the process: answer each message with a report, and restart the measurements if the message is true."""
    loop = _Loop(_over_http(address, payload, path) if path else _over_grpc(address, payload))
    threading.Thread(target=loop.run, daemon=True).start()
    with contextlib.suppress(EOFError):
        while True:
            forgets = pipe.recv()
            pipe.send(loop.report())
            if forgets:
                loop.forget()
