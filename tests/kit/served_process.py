"""`rnnserve serve` as a process whose log and memory are looked at."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc

from kit.running_processes import children_of

__all__ = ["ServedProcess", "serve_repository"]

_END_SECONDS = 30.0


class ServedProcess:
    """A server on a free port.

    Attributes:
        repository: What it serves.
    """

    def __init__(
        self, repository: Path, log: Path, *options: str, is_watched: bool = False, is_measured: bool = True
    ) -> None:
        """Start it.

        Args:
            repository: Folder to serve.
            log: File for its log.
            options: Options of `rnnserve serve`.
            is_watched: Whether `most_megabytes` is asked for. A look reads some 40 files of the system, and a hundred a
                second are a quarter of a core.
            is_measured: Whether its coverage is measured, where that of the tests is.
        """
        self.repository = repository
        self._log = log
        self._port = 0
        command = [sys.executable, "-m", "rnnserve.cli", "serve", str(repository), "--grpc-port", "0"]
        command += [*([] if "--http-port" in options else ["--no-http"]), *options]
        environment = {name: os.environ[name] for name in os.environ if is_measured or not name.startswith("COVERAGE_")}
        with log.open("wb") as file:
            self._popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, env=environment)
        self._most = 0.0
        self._is_over = threading.Event()
        if is_watched:
            threading.Thread(target=self._watch, daemon=True).start()

    def first_line(self) -> str:
        """What it prints when it serves; empty where it ends before."""
        line = self._popen.stdout.readline()
        printed = re.fullmatch(r"gRPC on 127\.0\.0\.1:(\d+)\n", line)
        self._port = int(printed[1]) if printed else 0
        return line

    def http_address(self) -> str:
        """Where it speaks HTTP; what it prints next. For a server with --http-port, once, after `first_line`."""
        line = self._popen.stdout.readline()
        printed = re.fullmatch(r"HTTP on (127\.0\.0\.1:\d+)\n", line)
        assert printed, self.log()
        return printed[1]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)])

    def log(self) -> str:
        return self._log.read_text()

    def children(self, words: bytes = b"") -> list[int]:
        """Numbers of the processes that it has started, and whose command lines have these words."""
        return children_of(self._popen.pid, words)

    def megabytes(self) -> float:
        """Resident memory of the process and of those that it has started."""
        return sum(_resident(pid) for pid in (self._popen.pid, *self.children()))

    def most_megabytes(self) -> float:
        """The most that `megabytes` has been, looked at every 10 ms; of one that is watched."""
        return self._most

    def signal_to_stop(self) -> None:
        self._popen.send_signal(signal.SIGTERM)

    @property
    def has_ended(self) -> bool:
        return self._popen.poll() is not None

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait(_END_SECONDS)

    def wait(self, seconds: float) -> int:
        """Wait for its end; gives the exit status."""
        status = self._popen.wait(seconds)
        self._is_over.set()
        self._popen.stdout.close()
        return status

    def terminate(self, seconds: float) -> None:
        self.signal_to_stop()
        assert self.wait(seconds) == 0

    def close(self) -> None:
        self._popen.kill()
        self.wait(_END_SECONDS)

    def _watch(self) -> None:
        while not self._is_over.wait(0.01):
            with contextlib.suppress(OSError):
                self._most = max(self._most, self.megabytes())


@contextlib.contextmanager
def serve_repository(repository: Path, log: Path, *options: str, is_watched: bool = False) -> Iterator[ServedProcess]:
    """Serve until the block ends; in it the server has printed that it serves."""
    process = ServedProcess(repository, log, *options, is_watched=is_watched)
    try:
        line = process.first_line()
        assert line, process.log()
        yield process
        if process._popen.poll() is None:
            process.terminate(_END_SECONDS)
    finally:
        process.close()


def _resident(pid: int) -> float:
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0
