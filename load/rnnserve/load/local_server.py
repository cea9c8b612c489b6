"""A local server for the duration of a test: `rnnserve serve` on a free port, always stopped at the end."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rnnserve.client import InvalidRequest, Unavailable
from rnnserve.common.child_process import ChildProcess

__all__ = ["LocalServer", "ServerUsage", "read_usage", "serve_repository"]

_SERVE = "import sys; from rnnserve.cli import main; sys.exit(main())"
_GRACE_SECONDS = 10.0
_ANNOUNCEMENT = re.compile(r"gRPC on (?P<address>\S+)")
_PROC = Path("/proc")
_PSS = re.compile(r"^Pss:\s+(?P<kib>\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class ServerUsage:
    """Processor time of a server's processes since their start, and their present memory.

    Pages that several processes share count once.
    """

    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class LocalServer:
    """A server on this machine: its `host:port`, and the session ID of its processes."""

    address: str
    session: int

    def usage(self) -> ServerUsage | None:
        """Return its processor time and memory, or None if the system does not report them."""
        return read_usage(self.session)


@contextlib.contextmanager
def serve_repository(repository: Path, flags: str = "") -> Iterator[LocalServer]:
    """Serve a repository. Yields the server when it is ready. `flags` are more options, quoted as for a shell."""
    try:
        options = shlex.split(flags)
    except ValueError as error:
        raise InvalidRequest(f"--serve-flags {flags!r}: {error}") from error
    # Use the same Python, independent of PATH. The import contracts forbid importing the server's modules here.
    command = [sys.executable, "-c", _SERVE, "serve", str(repository), "--grpc-port", "0", "--no-http"]
    command += ["--log-level", "warning"]
    process = ChildProcess([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        announcement = next(filter(None, map(_ANNOUNCEMENT.match, process.stdout)), None)
        if announcement is None:
            raise Unavailable(f"the server ended before it was ready, with exit status {process.wait()}")
        yield LocalServer(announcement["address"], process.pid)
    finally:
        process.end(_GRACE_SECONDS)


def read_usage(session: int, proc: Path = _PROC) -> ServerUsage | None:
    """Return the usage of the processes of a session, or None if the system does not report it (only Linux does)."""
    ticks = memory = found = 0
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # a process may end while it is read
            # "pid (name) state parent group session …": the name may contain spaces and brackets.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) != session or fields[0] == "Z":
                continue
            pss = _PSS.search((folder / "smaps_rollup").read_text())
            if pss is None:
                continue
            ticks += sum(map(int, fields[11:15]))  # utime, stime, and both of children after `wait`
            memory += int(pss["kib"]) * 1024
            found += 1
    return ServerUsage(ticks / os.sysconf("SC_CLK_TCK"), memory) if found else None
