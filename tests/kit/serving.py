"""The older names of `kit.served.served` for a process."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from kit.served import served

__all__ = ["RNNSERVE", "serve_in_process"]

RNNSERVE = Path(sys.executable).parent / "rnnserve"


@contextlib.contextmanager
def serve_in_process(repository: Path) -> "Iterator[tuple[subprocess.Popen[str], int]]":
    """Give the process and the port."""
    with served(repository, "process") as server:
        yield server.process, server.port
