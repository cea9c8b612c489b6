"""Keep `rnnserve serve` running on one node: start it again when it ends."""

import re
import subprocess
import sys
import threading
from collections.abc import Sequence

from rnnserve.cluster.servers import ServerReport, ServerSpec, ServerState
from rnnserve.common.child_process import LIFELINE, ChildProcess, KeptProcess

__all__ = ["KeptServer"]

_READY = re.compile(r"gRPC on (?P<address>\S+:\d+)\n?")
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
        self._is_ending = False
        self._process: _ServerProcess | None = None
        self._kept = KeptProcess("kept server", self._start, self._note_end)
        self._kept.start()

    def report(self) -> ServerReport:
        """Return the server's status."""
        process = self._process
        state: ServerState = "starting"
        if process is not None and process.status() is not None:
            state = "ended"
        elif process is not None and process.is_ready and not self._is_ending:
            state = "ready"
        return ServerReport(self._address, state, self._spec, "" if state == "ready" else self._said, self._starts)

    def try_server(self, spec: ServerSpec) -> str:
        """Test a second server on this node, then stop it. Returns why it doesn't serve, or an empty text."""
        try:
            process = _ServerProcess(spec.trial_command(self._host))
        except OSError as error:
            return str(error)
        is_ready = process.wait_ready(_START_SECONDS)
        process.end(_END_SECONDS)
        return "" if is_ready else process.last_line or "it has ended without a word"

    def stop(self) -> None:
        """Shut the server down with SIGTERM, and start no other."""
        self._is_ending = True
        self._kept.end()
        if not self._kept.wait(_END_SECONDS):
            self._kept.kill()

    def _start(self) -> "_ServerProcess":
        process = self._process = _ServerProcess(self._spec.command(self._host))
        self._starts += 1
        return process

    def _note_end(self, ended: str, _: float) -> None:
        last_line = self._process.last_line if self._process is not None else ""
        self._said = last_line or f"it {ended}"


class _ServerProcess(ChildProcess):
    """One process of `rnnserve serve`. Its output is copied to this process's standard error."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """Start the process with these arguments of `rnnserve`, "serve" first. May raise OSError."""
        serve, *options = arguments
        super().__init__(
            [sys.executable, "-m", "rnnserve.cli", serve, LIFELINE, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.last_line = ""  # of its output
        self._told = threading.Event()
        self._serves = False
        self._reading = threading.Thread(target=self._read, name="server output", daemon=True)
        self._reading.start()

    @property
    def is_ready(self) -> bool:
        """Whether the server has checked its models and is serving."""
        return self._serves and self.status() is None

    def wait_ready(self, seconds: float) -> bool:
        """Wait until the server serves or has ended."""
        self._told.wait(seconds)
        return self.is_ready

    def close(self) -> None:
        """Read the rest of the output, whose last line may contain the reason of an end, and close the pipes."""
        self._reading.join(_READ_SECONDS)
        super().close()

    def _read(self) -> None:
        for line in self.stdout:
            self.last_line = line.strip() or self.last_line
            if _READY.fullmatch(line):
                self._serves = True
                self._told.set()
            sys.stderr.write(line)
            sys.stderr.flush()
        self._told.set()
