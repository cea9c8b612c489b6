"""Servers as processes: started, watched, measured, and ended as groups, whatever happens."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.errors import ServerFailed

__all__ = ["Process", "cpu_seconds", "ended", "free_port", "mapped", "resident_bytes", "started"]

_START_WITHIN, _END_WITHIN = 60.0, 10.0


class Process:
    """A server that answers.

    Attributes:
        name: For messages.
        port: On 127.0.0.1.
        seconds: From starting the process until it said that it answers.
        log: What it prints.
    """

    def __init__(
        self, name: str, command: Sequence[str], ready: str, log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it and wait until its log matches `ready`, whose first group is the port.

        Raises:
            ServerFailed: If it ends before, or takes too long.
        """
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        with log.open("wb") as out:
            self._process: subprocess.Popen[Any] = subprocess.Popen(  # noqa: S603 - no shell, our own arguments
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=True,
            )
        try:
            self.port = self._wait(re.compile(ready))
        except BaseException:
            self.end()
            raise
        self.seconds = time.perf_counter() - began

    @property
    def pids(self) -> list[int]:
        """The process and those that it started, in its session."""
        return _session(self._process.pid)

    def check_alive(self) -> None:
        """Make sure that it still runs.

        Raises:
            ServerFailed: If it does not.
        """
        if self._process.poll() is not None:
            raise ServerFailed(f"{self.name} ended by itself with status {self._process.returncode}: {self._last()}")

    def end(self) -> None:
        """Ask it to end, and see to it that it does, with all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_WITHIN)
        deadline = time.monotonic() + _END_WITHIN
        while (left := self.pids) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        self._process.wait()

    def _wait(self, ready: re.Pattern[str]) -> int:
        deadline = time.monotonic() + _START_WITHIN
        while time.monotonic() < deadline:
            found = ready.search(self.log.read_text(errors="replace"))
            if found:
                return int(found[1])
            self.check_alive()
            time.sleep(0.002)
        raise ServerFailed(f"{self.name} was not ready within {_START_WITHIN:.0f} s: {self._last()}")

    def _last(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"{lines[-1].strip() if lines else 'it printed nothing'} (all of it: {self.log})"


@contextlib.contextmanager
def started(
    name: str, command: Sequence[str], ready: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Process]:
    """Start a server, and end it behind the block."""
    process = Process(name, command, ready, log, environment)
    try:
        yield process
    finally:
        process.end()


def ended(number: int, _: object) -> None:
    """Turn a signal into an exception, so that servers are ended on the way out."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def free_port() -> int:
    """A port that was free a moment ago, for servers that take no port 0."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def resident_bytes(pids: Sequence[int]) -> int:
    """Resident memory of processes together, pages that they share counted once for each."""
    total = 0
    for pid in pids:
        found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time that processes have used since they started, in user mode and in the kernel, all threads."""
    ticks = 0
    for pid in pids:
        # After "pid (name)": state is field 0, utime field 11, stime field 12, in clock ticks.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def mapped(pids: Sequence[int], word: str) -> int:
    """How many files whose path holds the word are mapped into the processes."""
    paths = {
        line.split(maxsplit=5)[5]
        for pid in pids
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if len(line.split(maxsplit=5)) == 6
    }
    return sum(word in Path(path).name or f"/{word}/" in path for path in paths)


def _session(leader: int) -> list[int]:
    """The processes of a session that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            # pid (name) state parent group session: the name may hold spaces and brackets
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(path.parent.name))
    return found
