"""Keep `rnnserve serve` running on one node: start it again when it ends."""

import collections
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from rnnserve.cluster.servers import ServerReport, ServerSpec, ServerState
from rnnserve.common.child_process import LIFELINE, Backoff, ChildProcess

__all__ = ["KeptServer"]

_READY = re.compile(r"gRPC on (?P<address>\S+:\d+)\n?")
_KEPT_LINES = 20
_READ_SECONDS = 2.0

_START_SECONDS = 600.0
"""Seconds until a started server must serve. `--load-timeout` limits the time for each model version."""

_END_SECONDS = 120.0
"""Seconds until a stopped server must have ended, including `--drain` and `--grace`."""


class KeptServer:
    """Keeps one server running on this node, starting at once."""

    def __init__(self, host: str, spec: ServerSpec) -> None:
        self._address = f"[{host}]:{spec.port}" if ":" in host else f"{host}:{spec.port}"
        self._host = host
        self._spec = spec
        self._starts = 0
        self._said = ""
        self._process: _ServerProcess | None = None
        self._lock = threading.Lock()
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="kept server", daemon=True)
        self._thread.start()

    def report(self) -> ServerReport:
        """Return the server's status."""
        with self._lock:
            process = self._process
        state: ServerState = "ended" if self._starts else "starting"
        if process is not None:
            state = "ready" if process.is_ready and not self._is_ending.is_set() else "starting"
        return ServerReport(self._address, state, self._spec, "" if state == "ready" else self._said, self._starts)

    def prove(self, spec: ServerSpec) -> str:
        """Test a second server on this node, then stop it. Returns why it doesn't serve, or an empty text."""
        try:
            process = _ServerProcess(spec.command_of_proof(self._host))
        except OSError as error:
            return str(error)
        is_ready = process.wait_ready(_START_SECONDS)
        process.stop(_END_SECONDS)
        process.wait()
        return "" if is_ready else process.last_line or "it has ended without a word"

    def stop(self) -> None:
        """Shut the server down with SIGTERM, and start no other."""
        with self._lock:
            self._is_ending.set()
            process = self._process
        if process is not None:
            process.stop(_END_SECONDS)
        self._thread.join(_END_SECONDS)

    def _keep(self) -> None:
        backoff = Backoff(first=0.5, longest=30.0, grown_up=10.0)
        while not self._is_ending.is_set():
            began = time.monotonic()
            try:
                with self._lock:
                    if self._is_ending.is_set():
                        return
                    process = self._process = _ServerProcess(self._spec.command(self._host))
                    self._starts += 1
            except OSError as error:
                self._said = str(error)
            else:
                status = process.wait()
                with self._lock:
                    self._process = None
                self._said = process.last_line or f"it has ended with exit status {status}"
            self._is_ending.wait(backoff.seconds_after(time.monotonic() - began))


class _ServerProcess:
    """One process of `rnnserve serve`, in its own process group. The kernel ends it with this process.

    Its output is copied to this process's standard error.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        """Start the process with these arguments of `rnnserve`, "serve" first. May raise OSError."""
        serve, *options = arguments
        self._child = ChildProcess(
            [sys.executable, "-m", "rnnserve.cli", serve, LIFELINE, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._told = threading.Event()
        self._serves = False
        self._reading = threading.Thread(target=self._read, name="server output", daemon=True)
        self._reading.start()

    @property
    def last_line(self) -> str:
        """The last line of its output."""
        return next((line for line in reversed(self._lines) if line), "")

    @property
    def is_ready(self) -> bool:
        """Whether the server has checked its models and is serving."""
        return self._serves and self._child.status() is None

    def wait_ready(self, seconds: float) -> bool:
        """Wait until the server serves or has ended."""
        self._told.wait(seconds)
        return self.is_ready

    def wait(self) -> int:
        """Wait for the end of the process, and return its exit status."""
        status = self._child.wait() or 0
        self._reading.join(_READ_SECONDS)  # the last line may contain the reason
        self._child.close()
        return status

    def stop(self, seconds: float) -> None:
        """Send SIGTERM, wait at most `seconds`, then kill the whole process group."""
        self._child.send(signal.SIGTERM)
        self._child.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def _read(self) -> None:
        for line in self._child.stdout:
            self._lines.append(line.strip())
            if _READY.fullmatch(line):
                self._serves = True
                self._told.set()
            sys.stderr.write(line)
            sys.stderr.flush()
        self._told.set()
