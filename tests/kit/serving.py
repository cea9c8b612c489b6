"""`rnnserve serve` as a process."""

import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["RNNSERVE", "serve_in_process"]

RNNSERVE = Path(sys.executable).parent / "rnnserve"


@contextlib.contextmanager
def serve_in_process(repository: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Serve `repository` on a free port; gives the process and the port. The process must end with status 0."""
    command = [str(RNNSERVE), "serve", str(repository), "--grpc-port", "0", "--log-level", "warning", "--no-http"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = re.fullmatch(r"gRPC on 127\.0\.0\.1:(\d+)\n", process.stdout.readline())
        assert printed
        yield process, int(printed[1])
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
