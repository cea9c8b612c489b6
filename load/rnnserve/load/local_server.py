"""A local server for the duration of a test: `rnnserve serve` on a free port, always stopped at the end."""

import contextlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rnnserve.client import InvalidRequest, Unavailable
from rnnserve.common.child_process import LIFELINE, ChildProcess

__all__ = ["serve_repository"]

_SERVE = "import sys; from rnnserve.cli import main; sys.exit(main())"
_GRACE_SECONDS = 10.0
_ANNOUNCEMENT = re.compile(r"gRPC on (?P<address>\S+)")


@contextlib.contextmanager
def serve_repository(repository: Path, flags: str = "") -> Iterator[str]:
    """Serve a repository. Yields its `host:port` when it is ready. `flags` are more options, quoted as for a shell."""
    try:
        options = shlex.split(flags)
    except ValueError as error:
        raise InvalidRequest(f"cannot parse --serve-flags {flags!r} ({error})") from error
    # Use the same Python, independent of PATH. The import contracts forbid importing the server's modules here.
    command = [sys.executable, "-c", _SERVE, "serve", str(repository), LIFELINE, "--grpc-port", "0", "--no-http"]
    command += ["--log-level", "warning"]
    process = ChildProcess([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        announcement = next(filter(None, map(_ANNOUNCEMENT.match, process.stdout)), None)
        if announcement is None:
            raise Unavailable(f"the server exited with status {process.wait()} before it was ready; its log is above")
        yield announcement["address"]
    finally:
        process.end(_GRACE_SECONDS)
