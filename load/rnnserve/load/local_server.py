"""A local server for the duration of a test: `rnnserve serve` on a free port, stopped in every case."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rnnserve.client import InvalidRequest, Unavailable
from rnnserve.common.child_process import ChildProcess
from rnnserve.load.server_usage import ServerUsage, read_usage

__all__ = ["LocalServer", "serve_repository"]

_SERVE = "import sys; from rnnserve.cli import main; sys.exit(main())"
_GRACE_SECONDS = 10.0
_ANNOUNCEMENT = re.compile(r"gRPC on (?P<address>\S+)")


@dataclass(frozen=True)
class LocalServer:
    """A server that runs here.

    Attributes:
        address: Its `host:port`.
        session: Id of the session of its processes, which is that of the first one.
    """

    address: str
    session: int

    def usage(self) -> ServerUsage | None:
        """Read what it has used of this machine; None where the system does not tell."""
        return read_usage(self.session)


@contextmanager
def serve_repository(repository: Path, flags: str = "") -> Iterator[LocalServer]:
    """Serve a repository; yield the server when it is ready.

    Args:
        repository: A folder that `rnnserve export` wrote.
        flags: More options of `rnnserve serve`, quoted as for a shell.

    Raises:
        InvalidRequest: The flags are not quoted correctly.
        Unavailable: The server ended before it was ready; its error message is on standard error.
    """
    try:
        options = shlex.split(flags)
    except ValueError as error:
        raise InvalidRequest(f"--serve-flags {flags!r}: {error}") from error
    # The same Python, independent of PATH. The server's modules are not imported here: see the import contracts.
    command = [sys.executable, "-c", _SERVE, "serve", str(repository), "--grpc-port", "0", "--no-http"]
    command += ["--log-level", "warning"]
    process = ChildProcess([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        yield LocalServer(_wait_for_address(process), process.pid)
    finally:
        process.end(_GRACE_SECONDS)


def _wait_for_address(process: ChildProcess) -> str:
    for line in process.stdout:
        announcement = _ANNOUNCEMENT.match(line)
        if announcement:
            return announcement["address"]
    raise Unavailable(f"the server ended before it was ready, with exit status {process.wait()}")
