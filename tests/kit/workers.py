"""`rnnserve serve` as a process whose log is kept, its workers, and clients that load it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from kit.inference_requests import request
from kit.running_processes import children_of
from kit.waiting import PATIENCE
from rnnserve.protos import inference_pb2_grpc as rpc

__all__ = ["Load", "Serving", "ask", "new_channel", "serving"]


@dataclass
class Serving:
    """A server that runs.

    Attributes:
        process: The process that was started: the server, or the supervisor of workers.
        port: Where it listens.
        log_file: Its standard error.
    """

    process: subprocess.Popen[str]
    port: int
    log_file: Path

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.log_file.read_text()

    def workers(self) -> list[int]:
        """The processes of its workers, without those that have ended."""
        return children_of(self.process.pid, b"\0--report-fd")

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self.process.send_signal(number)


@contextlib.contextmanager
def serving(repository: Path, folder: Path, *options: str, patch: str = "") -> Iterator[Serving]:
    """Serve a repository on a free port. Whatever happens inside, no process is left after it.

    Args:
        repository: The folder with the models.
        folder: Where to log.
        options: Of the command.
        patch: Python that each of the processes runs at its start.
    """
    command = [sys.executable, "-m", "rnnserve.cli", "serve", str(repository), "--grpc-port", "0", "--provider", "cpu"]
    command += [] if "--http-port" in options else ["--no-http"]
    log_file = folder / "log"
    (folder / "sitecustomize.py").write_text(patch)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    with (
        log_file.open("w") as log,
        subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "PYTHONPATH": path}
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            said = re.fullmatch(r"gRPC on 127\.0\.0\.1:(\d+)\n", line)
            assert said, (line, log_file.read_text())
            yield Serving(process, int(said[1]), log_file)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) >= 0
        finally:
            if process.poll() is None:
                process.kill()


def new_channel(port: int) -> grpc.Channel:
    """A connection of its own: any worker may get it."""
    return grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])


_REQUEST = request("direction_simple", {"input": np.zeros((1, 3, 2), np.float32)})


def ask(channel: grpc.Channel, timeout: float = PATIENCE) -> str:
    """Make one small request; say how it ended: OK, or the error's status and message."""
    try:
        assert rpc.GRPCInferenceServiceStub(channel).ModelInfer(_REQUEST, timeout=timeout).outputs
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return "OK"


@dataclass
class Load:
    """Clients in closed loops, each with one request in flight.

    Attributes:
        port: Whom they ask.
        clients: How many.
        reconnect: Whether each request has a connection of its own.
        pause: Seconds between an answer and the next request.
        said: How requests ended, and how many of them did so.
        slowest: Seconds that the slowest took.
    """

    port: int
    clients: int
    reconnect: bool
    pause: float = 0.0
    said: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    _is_over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def running(self) -> Iterator["Load"]:
        """Ask inside a `with`."""
        threads = [threading.Thread(target=self._ask_on, daemon=True) for _ in range(self.clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join(PATIENCE)

    @property
    def failed(self) -> dict[str, int]:
        """How requests failed."""
        with self._lock:
            return {said: count for said, count in self.said.items() if said != "OK"}

    def answered(self) -> int:
        """How many have been answered."""
        with self._lock:
            return self.said["OK"]

    def _ask_on(self) -> None:
        with contextlib.ExitStack() as stack:
            kept = None if self.reconnect else stack.enter_context(new_channel(self.port))
            while not self._is_over.wait(self.pause):
                started = time.monotonic()
                if kept is not None:
                    said = ask(kept)
                else:
                    with new_channel(self.port) as channel:
                        said = ask(channel)
                with self._lock:
                    self.said[said] += 1
                    self.slowest = max(self.slowest, time.monotonic() - started)
