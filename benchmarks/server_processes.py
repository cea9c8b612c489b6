"""Server processes: start, supervision, memory and processor time, and their end with all of their children."""

import contextlib
import functools
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from benchmarks.errors import ServerFailed
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.inference_pb2_grpc import GRPCInferenceServiceStub

_START_TIMEOUT_S, _END_TIMEOUT_S = 60.0, 10.0

_STATE, _PARENT, _SESSION, _USER_TIME, _KERNEL_TIME = 0, 1, 3, 11, 12
"""Fields of /proc/PID/stat, counted from the state. Times are in clock ticks."""


class ServerProcess:
    """A server that has printed that it is ready.

    Attributes:
        name: Name of the server, for messages.
        port: Port on 127.0.0.1.
        seconds: Seconds from the start of the process until it was ready.
        log: File with the output of the server.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        ready: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = _START_TIMEOUT_S,
        folder: Path | None = None,
    ) -> None:
        """Start the server and wait until it is ready.

        Args:
            name: Name of the server, for messages.
            command: The command line.
            ready: A regular expression for the output of a ready server. Its first group is the port.
            log: File for the output.
            environment: Environment variables in addition to the variables of this process.
            timeout_s: Time limit in seconds until the server must be ready.
            folder: Working folder of the server. None means the current folder.

        Raises:
            ServerFailed: If the server ends before it is ready, or is not ready in time.
        """
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._started = time.perf_counter()
        self._timeout_s = timeout_s
        with log.open("wb") as out:
            self._process: subprocess.Popen[Any] = subprocess.Popen(  # noqa: S603 - no shell, our own arguments
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=True,
                cwd=folder,
            )
        try:
            self.port = self._wait_until_ready(re.compile(ready))
        except BaseException:
            self.end()
            raise
        self.seconds = time.perf_counter() - self._started

    @property
    def pids(self) -> list[int]:
        """The process and its children in its session."""
        return _pids_in_session(self._process.pid)

    def port_after(self, pattern: str) -> int:
        """Find another port in the server's output: the first group of a regular expression.

        Raises:
            ServerFailed: If the output doesn't contain the port.
        """
        found = re.search(pattern, self.log.read_text(errors="replace"))
        if found is None:
            raise ServerFailed(f"{self.name} did not print {pattern}: {self._last_line()}")
        return int(found[1])

    def check_alive(self) -> None:
        """Check that the server still runs.

        Raises:
            ServerFailed: If it has ended.
        """
        if self._process.poll() is not None:
            raise ServerFailed(
                f"{self.name} ended unexpectedly with status {self._process.returncode}: {self._last_line()}"
            )

    def wait_for_models(self) -> None:
        """Wait until the server answers ServerReady with true.

        This server starts to listen before it has loaded slow models. `seconds` then counts until this moment.

        Raises:
            ServerFailed: If the server ends early, or is not ready in time.
        """
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            asked = functools.partial(
                GRPCInferenceServiceStub(channel).ServerReady,
                pb.ServerReadyRequest(),
                timeout=self._timeout_s,
                wait_for_ready=True,
            )
            while not asked().ready:
                self.check_alive()
                if time.perf_counter() > self._started + self._timeout_s:
                    raise ServerFailed(
                        f"{self.name} did not load its models within {self._timeout_s:.0f} s: {self._last_line()}"
                    )
                time.sleep(0.005)
        self.seconds = time.perf_counter() - self._started

    def end(self) -> None:
        """Terminate the server and its children; kill the processes that still run after 10 s."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_TIMEOUT_S)
        deadline = time.monotonic() + _END_TIMEOUT_S
        while (left := self.pids) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        self._process.wait()

    def _wait_until_ready(self, ready: re.Pattern[str]) -> int:
        deadline = self._started + self._timeout_s
        while time.perf_counter() < deadline:
            found = ready.search(self.log.read_text(errors="replace"))
            if found:
                return int(found[1])
            self.check_alive()
            time.sleep(0.002)
        raise ServerFailed(f"{self.name} was not ready within {self._timeout_s:.0f} s: {self._last_line()}")

    def _last_line(self) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"{lines[-1].strip() if lines else 'it printed nothing'} (log: {self.log})"


@contextlib.contextmanager
def running_server(
    name: str,
    command: Sequence[str],
    ready: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = _START_TIMEOUT_S,
    folder: Path | None = None,
) -> Iterator[ServerProcess]:
    """Start a server with the arguments of `ServerProcess` and end it after the block."""
    process = ServerProcess(name, command, ready, log, environment, timeout_s, folder)
    try:
        yield process
    finally:
        process.end()


def free_port() -> int:
    """Return a port that is free now, for servers that do not take port 0."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def resident_bytes(pids: Sequence[int]) -> int:
    """Return the resident memory of processes in bytes. Shared pages count once for each process."""
    total = 0
    for pid in pids:
        found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        total += int(found[1]) * 1024 if found else 0
    return total


def cpu_seconds(pids: Sequence[int]) -> float:
    """Return the processor time that processes have used, in user mode and in the kernel, in seconds."""
    fields = [_stat_fields(Path(f"/proc/{pid}/stat")) for pid in pids]
    return sum(int(each[_USER_TIME]) + int(each[_KERNEL_TIME]) for each in fields) / os.sysconf("SC_CLK_TCK")


def count_mapped_files(pids: Sequence[int], word: str) -> int:
    """Count the mapped files of processes whose path contains the word in the file name or as a folder."""
    lines = [line.split(maxsplit=5) for pid in pids for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    paths = {fields[5] for fields in lines if len(fields) == 6}
    return sum(word in Path(path).name or f"/{word}/" in path for path in paths)


def descendants(pids: Sequence[int]) -> list[int]:
    """Return the running descendants of these processes, without the processes themselves."""
    parents = {pid: int(fields[_PARENT]) for pid, fields in _all_stats()}
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - set(pids))


def _pids_in_session(leader: int) -> list[int]:
    """Return the running processes of a session."""
    return [pid for pid, fields in _all_stats() if int(fields[_SESSION]) == leader and fields[_STATE] != "Z"]


def _all_stats() -> Iterator[tuple[int, list[str]]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # the process has ended
            yield int(path.parent.name), _stat_fields(path)


def _stat_fields(path: Path) -> list[str]:
    """Return the fields after "pid (name)", whose name may contain spaces and brackets."""
    return path.read_text().rpartition(")")[2].split()
