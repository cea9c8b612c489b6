"""The older names of `kit.served.ServedProcess`."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from kit import served

__all__ = ["ServedProcess", "serve_repository"]


class ServedProcess(served.ServedProcess):
    """The same with methods in place of properties."""

    @property
    def _popen(self) -> "subprocess.Popen[str]":
        return self.process

    def http_address(self) -> str:  # type: ignore[override]
        """Host and port for HTTP."""
        return self.next_line(r"HTTP on (127\.0\.0\.1:\d+)")

    def log(self) -> str:  # type: ignore[override]
        """What it has logged so far."""
        return self._read_log()


@contextlib.contextmanager
def serve_repository(repository: Path, log: Path, *options: str) -> Iterator[ServedProcess]:
    """Serve until the block ends. The log lies elsewhere."""
    del log
    with contextlib.closing(ServedProcess(repository, *options)) as process:
        process.wait_until_serving()
        yield process
        process.end_well()
