"""The bystander: a small client that asks for one thing after another, in a process and on a connection of its own.

In a process of its own, so that what it measures is the server, not the attacker's interpreter. On its standard input a
line says whom to ask; each further line asks for a report, which is a line of JSON.
"""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

import grpc

__all__ = ["TIMEOUT", "Bystander", "Loop", "Sighting", "answer_reports"]

_PATH = "/inference.GRPCInferenceService/ModelInfer"
_PAUSE = 2e-3  # seconds between an answer and the next request: about 300 requests a second
TIMEOUT = 60.0


@dataclasses.dataclass(frozen=True)
class Sighting:
    """What the bystander met since the last report.

    Attributes:
        requests: How many were answered.
        failures: By status, how many were not answered with OK.
        longest: Seconds of the longest wait, that of a request without an answer yet included.
        text: The first failure's.
    """

    requests: int
    failures: dict[str, int]
    longest: float
    text: str


class Bystander:
    """The handle of the process, in a `with`."""

    def __init__(self, address: str, payload: bytes, module: str = f"{__package__}.bystander") -> None:
        """Start to ask.

        Args:
            address: Host and port of the server.
            payload: A valid ModelInferRequest, or what another bystander sends.
            module: Module of the bystander.
        """
        command = [sys.executable, "-m", module]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._ask(json.dumps({"address": address, "payload": payload.hex()}))

    def __enter__(self) -> "Bystander":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # at the end of its input the process ends

    def report(self) -> Sighting:
        """Say what was met since the last report."""
        return Sighting(**json.loads(self._ask("report")))

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()


class Loop:
    """Asks without end, and counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._requests = 0
        self._failures: Counter[str] = Counter()
        self._longest = 0.0
        self._text = ""

    def run(self) -> None:
        while True:
            with self._lock:
                started = self._asked_at = time.monotonic()
            status, text = self.ask()
            with self._lock:
                self._asked_at = None
                self._requests += 1
                self._longest = max(self._longest, time.monotonic() - started)
                if status != "OK":
                    self._failures[status] += 1
                    self._text = self._text or text
            time.sleep(_PAUSE if status == "OK" else 0.05)

    def ask(self) -> tuple[str, str]:
        """Ask once; give "OK", or another status and what was said with it."""
        raise NotImplementedError

    def report(self) -> dict[str, object]:
        with self._lock:
            waits = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
            said = {
                "requests": self._requests,
                "failures": dict(self._failures),
                "longest": max(self._longest, waits),
                "text": self._text,
            }
            self._requests, self._longest, self._text = 0, 0.0, ""
            self._failures.clear()
            return said


class _GrpcLoop(Loop):
    def __init__(self, address: str, payload: bytes) -> None:
        super().__init__()
        self._send = grpc.insecure_channel(address).unary_unary(_PATH)
        self._payload = payload

    def ask(self) -> tuple[str, str]:
        try:
            self._send(self._payload, timeout=TIMEOUT)
        except grpc.RpcError as error:
            return error.code().name, error.details() or ""
        return "OK", ""


def answer_reports(kind: Callable[[str, bytes], Loop]) -> None:
    """Be the process: ask as standard input says, and report for each further line of it."""
    started = json.loads(sys.stdin.readline())
    loop = kind(started["address"], bytes.fromhex(started["payload"]))
    threading.Thread(target=loop.run, daemon=True).start()
    print(flush=True)
    for _ in sys.stdin:
        print(json.dumps(loop.report()), flush=True)


if __name__ == "__main__":
    answer_reports(_GrpcLoop)
