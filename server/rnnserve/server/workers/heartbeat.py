"""The heartbeat of a worker: a status line sent to the supervisor about once a second.

A worker writes JSON lines to a pipe. The supervisor writes commands to the worker's standard input: `listen` when the
worker may listen, and `drain` when it must report that it isn't ready. When standard input closes, the supervisor has
ended.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import NamedTuple, Self

from rnnserve.server.repository.model_state import ModelState

__all__ = ["DRAIN", "LISTEN", "Heartbeat", "SupervisorLink"]

LISTEN, DRAIN = b"listen\n", b"drain\n"


class Heartbeat(NamedTuple):
    """The status of a worker: its models, whether it listens, and a description of a stuck inference call."""

    models: dict[str, ModelState]
    is_listening: bool = False
    stuck: str = ""

    def line(self) -> bytes:
        """Encode the heartbeat as a line."""
        return json.dumps(self._asdict()).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Self:
        """Parse a line. Raise ValueError or TypeError if it isn't a heartbeat."""
        match json.loads(line):
            case {"models": dict(models), "is_listening": bool(listens), "stuck": str(stuck)}:
                return cls({name: ModelState(*state) for name, state in models.items()}, listens, stuck)
        raise ValueError("not a heartbeat")


class SupervisorLink:
    """A worker's connection to its supervisor, which has opened the pipe `report_fd`."""

    def __init__(self, report_fd: int) -> None:
        self._report_fd = report_fd
        self._may_listen = threading.Event()
        self._writing = threading.Lock()

    def follow(self, on_drain: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Start a thread that follows the supervisor's commands. It calls `on_end` when the supervisor has ended."""

        def read() -> None:
            while said := os.read(sys.stdin.fileno(), 1 << 10):
                if LISTEN in said:
                    self._may_listen.set()
                if DRAIN in said:
                    on_drain()
            on_end()

        threading.Thread(target=read, name="commands", daemon=True).start()

    def beat(self, state: Callable[[], Heartbeat]) -> None:
        """Start a thread that writes a heartbeat about once a second."""

        def beat_on() -> None:
            pause = threading.Event()
            while True:
                self.write(state())
                pause.wait(1.0)

        threading.Thread(target=beat_on, name="heartbeat", daemon=True).start()

    def write(self, heartbeat: Heartbeat) -> None:
        """Write a heartbeat now. Does nothing if the supervisor has ended, which `follow` notices."""
        rest = heartbeat.line()
        try:
            with self._writing:
                while rest:
                    rest = rest[os.write(self._report_fd, rest) :]
        except OSError:
            return

    def wait_to_listen(self) -> None:
        """Wait until this worker may listen."""
        self._may_listen.wait()
