"""A server for the time of a test: `rnnserve serve` on a free port, stopped whatever happens."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnnserve.client.errors import InvalidRequest, Unavailable

__all__ = ["serving"]

_SERVE = "import sys; from rnnserve.cli import main; sys.exit(main())"
_GRACE = 10.0
_ANNOUNCED = re.compile(r"gRPC on (?P<address>\S+)")


@contextmanager
def serving(repository: Path, flags: str = "") -> Iterator[str]:
    """Serve a repository; yields the server's `host:port` once it is ready.

    Args:
        repository: As `rnnserve export` fills it.
        flags: More options of `rnnserve serve`, in a shell's words.

    Raises:
        InvalidRequest: The flags are no shell's words.
        Unavailable: The server ended before it was ready; what it said is on standard error.
    """
    try:
        words = shlex.split(flags)
    except ValueError as error:
        raise InvalidRequest(f"--serve-flags {flags!r}: {error}") from error
    # The same Python, whatever PATH says. The server is none of this process's imports: see the import contracts.
    command = [sys.executable, "-c", _SERVE, "serve", str(repository), "--grpc-port", "0", "--log-level", "warning"]
    # In a session of its own, so that Ctrl-C ends the test first and the server with it, not beside it.
    with subprocess.Popen(  # noqa: S603 - the words are the user's own
        [*command, *words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        try:
            yield _address(process)
        finally:
            process.terminate()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: "subprocess.Popen[str]") -> str:
    for line in process.stdout or ():
        announced = _ANNOUNCED.match(line)
        if announced:
            return announced["address"]
    raise Unavailable(f"the server ended before it was ready, with exit status {process.wait()}")
