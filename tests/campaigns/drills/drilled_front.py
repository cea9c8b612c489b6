"""A server with HTTP in processes that are drilled: bystanders over HTTP and gRPC, and what the front takes."""

import contextlib
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from campaigns.drills.drilled import SMALL as SMALL_CALL
from campaigns.drills.http.bystander import MODULE
from campaigns.drills.wire.bystander import Bystander, Sighting
from campaigns.drills.wire.resident_memory import resident_bytes, settles_below
from kit.served import ServedProcess, served

__all__ = ["DrilledFront", "drilled_front"]

SMALL = (
    b'{"inputs":[{"name":"input","datatype":"FP32","shape":[1,4,2],"data":[0,1,2,3,4,5,6,7]}],'
    b'"outputs":[{"name":"logits"}]}'
)


class DrilledFront:
    """The server and its front.

    Attributes:
        process: The server.
        port: Where HTTP is spoken.
        peak: The highest resident memory of the front so far, in bytes.
        reader_peak: The same, of the process that reads large bodies.
    """

    def __init__(self, process: ServedProcess, port: int) -> None:
        self.process = process
        self.port = port
        self.peak = self.reader_peak = 0
        self._pid = self.front()
        self._ends = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._bystanders = {
            "gRPC": Bystander(process.address, SMALL_CALL),
            "HTTP": Bystander(f"127.0.0.1:{port}", SMALL, MODULE),
        }
        time.sleep(0.5)  # they ask
        self.sightings()
        self._watcher.start()

    def front(self) -> int:
        """The front's process."""
        (pid,) = self.process.children(b"\0web\0")
        return pid

    def sightings(self) -> dict[str, Sighting]:
        """The bystanders' observations since the last call."""
        return {name: bystander.report() for name, bystander in self._bystanders.items()}

    def resident(self) -> tuple[int, int]:
        """Resident memory in bytes: of the front, and of the process that reads large bodies."""
        alone = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1]) * resource.getpagesize()
        return alone, resident_bytes(self._pid) - alone

    def forget_peak(self) -> None:
        """Start again."""
        self.peak = self.reader_peak = 0

    def settles_below(self, most: int, seconds: float = 10.0) -> bool:
        """Whether the memory of both falls below so many bytes within some seconds."""
        return settles_below(lambda: sum(self.resident()), most, seconds)

    def close(self) -> None:
        """End the bystanders."""
        self._ends.set()
        for bystander in self._bystanders.values():
            bystander.__exit__(None, None, None)

    def _watch(self) -> None:
        while not self._ends.wait(0.01):
            with contextlib.suppress(OSError):
                alone, reader = self.resident()
                self.peak, self.reader_peak = max(self.peak, alone), max(self.reader_peak, reader)


@contextlib.contextmanager
def drilled_front(repository: Path, *options: str) -> Iterator[DrilledFront]:
    """Serve a repository over gRPC and HTTP, with bystanders."""
    with served(repository, "process", http_port=0, options=options) as process:
        front = DrilledFront(process, int(process.http_address.rpartition(":")[2]))
        try:
            yield front
        finally:
            front.close()
