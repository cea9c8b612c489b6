"""The heartbeat of a worker: a line about once a second, from which its supervisor knows what it serves.

A worker writes lines of JSON to one pipe. The supervisor writes words to another, the lifeline: `listen` when the
worker may listen, and `drain` when it is to say that it isn't ready. The end of the lifeline is the end of the
supervisor.
"""

import json
import os
import threading
from collections.abc import Callable
from typing import NamedTuple, Self

from rnnserve.server.repository.model_state import ModelState

__all__ = ["DRAIN", "LISTEN", "Heartbeat", "SupervisorLink"]

LISTEN, DRAIN = b"listen\n", b"drain\n"


class Heartbeat(NamedTuple):
    """What a worker says of itself: its models, whether it listens, and which run doesn't end, in words."""

    models: dict[str, ModelState]
    is_listening: bool = False
    stuck: str = ""

    def line(self) -> bytes:
        """Write it as a line."""
        return json.dumps(self._asdict()).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Self:
        """Read such a line. Raises ValueError or TypeError if it isn't one."""
        match json.loads(line):
            case {"models": dict(models), "is_listening": bool(listens), "stuck": str(stuck)}:
                return cls({name: ModelState(*state) for name, state in models.items()}, listens, stuck)
        raise ValueError("not a heartbeat")


class SupervisorLink:
    """A worker's ends of the two pipes, which the supervisor has opened."""

    def __init__(self, report_fd: int, lifeline_fd: int) -> None:
        self._report_fd = report_fd
        self._lifeline_fd = lifeline_fd
        self._may_listen = threading.Event()
        self._writing = threading.Lock()

    def follow(self, on_drain: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Follow what the supervisor says, on another thread; call `on_end` when it has ended, however."""

        def read() -> None:
            while said := os.read(self._lifeline_fd, 1 << 10):
                if LISTEN in said:
                    self._may_listen.set()
                if DRAIN in said:
                    on_drain()
            on_end()

        threading.Thread(target=read, name="lifeline", daemon=True).start()

    def beat(self, state: Callable[[], Heartbeat]) -> None:
        """Write a heartbeat about once a second from now on, on another thread."""

        def beat_on() -> None:
            pause = threading.Event()
            while True:
                self.write(state())
                pause.wait(1.0)

        threading.Thread(target=beat_on, name="heartbeat", daemon=True).start()

    def write(self, heartbeat: Heartbeat) -> None:
        """Write a heartbeat now. A supervisor that has ended gets none; `follow` notices that."""
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
