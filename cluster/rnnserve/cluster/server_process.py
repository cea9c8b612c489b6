"""One run of `rnnserve serve`: a process in a group of its own, which the kernel ends with the one that started it."""

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
from pathlib import Path

from rnnserve.common.child_process import LIFELINE, ChildProcess

__all__ = ["ServerProcess", "end_left_servers"]

_READY = re.compile(r"gRPC on (?P<address>\S+:\d+)\n?")
_MARK = "PLACED_BY_RNNSERVE"
"""Variable of a server's environment, and of all processes that it starts, by which one that was left is found."""

_KEPT_LINES = 20
_READ_SECONDS, _GONE_SECONDS, _LOOK_SECONDS = 2.0, 10.0, 0.02


class ServerProcess:
    """A server that has been started.

    What it writes goes on to standard error of this process.
    """

    def __init__(self, arguments: Sequence[str], mark: str) -> None:
        """Start it.

        Args:
            arguments: The arguments of `rnnserve`, of which the first is "serve".
            mark: Words by which `end_left_servers` finds it.

        Raises:
            OSError: If it cannot be started.
        """
        serve, *options = arguments
        self._child = ChildProcess(
            [sys.executable, "-m", "rnnserve.cli", serve, LIFELINE, *options],
            env={**os.environ, _MARK: mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._told = threading.Event()
        self.address = ""
        self._reading = threading.Thread(target=self._read, name="server output", daemon=True)
        self._reading.start()

    @property
    def last_line(self) -> str:
        """What it has written last."""
        return next((line for line in reversed(self._lines) if line), "")

    @property
    def is_ready(self) -> bool:
        """Whether its models are proven and it serves."""
        return bool(self.address) and self._child.status() is None

    def wait_ready(self, seconds: float) -> bool:
        """Wait until it serves, or has ended."""
        self._told.wait(seconds)
        return self.is_ready

    def wait(self) -> int:
        """Wait for its end; give its exit status."""
        status = self._child.wait() or 0
        self._reading.join(_READ_SECONDS)  # what it has written last may be why
        self._child.close()
        return status

    def stop(self, seconds: float) -> None:
        """Let it end as SIGTERM does, within so many seconds; then it is killed, with all that it has started."""
        self._child.send(signal.SIGTERM)
        self._child.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def _read(self) -> None:
        for line in self._child.stdout:
            self._lines.append(line.strip())
            found = _READY.fullmatch(line)
            if found:
                self.address = found["address"]
                self._told.set()
            sys.stderr.write(line)
            sys.stderr.flush()
        self._told.set()


def end_left_servers(mark: str) -> int:
    """Kill servers of this mark that were left by a process that has ended, and what they have started.

    Args:
        mark: Words that `ServerProcess` was given.

    Returns:
        How many processes there were.
    """
    entry = f"{_MARK}={mark}".encode()
    left = [pid for pid in _own_processes() if entry in _environment(pid)]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _GONE_SECONDS
    while any(_environment(pid) for pid in left) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return len(left)


def _own_processes() -> list[int]:
    found = []
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if path.name.isdigit() and int(path.name) != os.getpid() and path.stat().st_uid == os.getuid():
                found.append(int(path.name))
    return found


def _environment(pid: int) -> list[bytes]:
    """The environment that a process was started with; empty of one that has ended."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
