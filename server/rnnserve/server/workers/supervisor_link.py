"""A worker's ends of the pipes to its supervisor: see `transport.worker` for what is said on them."""

import os
import queue
import threading
import time
from collections.abc import Callable

from rnnserve.server.workers.worker_statistics import WorkerCounts

__all__ = ["Supervised"]

_BEAT_SECONDS = 1.0

_COMPLAINTS = 3
"""Complaints in a row that are logged: a step of the lane may last longer than a beat."""


class Supervised:
    """What a worker tells its supervisor, and is told.

    Attributes:
        pins: What to serve; None for what the repository holds.
        orders: What the supervisor has said about changes: lines, as in `transport.agreement`.
        counts: What the other workers have counted.
        peers_token: What names the messages between the workers (`transport.peers`).
    """

    def __init__(
        self,
        report_fd: int,
        lifeline_fd: int,
        pins_fd: int | None,
        peers_token: str = "",
    ) -> None:
        """Speak through descriptors that the supervisor has opened.

        Args:
            report_fd: Descriptor to write to.
            lifeline_fd: Descriptor on which the supervisor writes; it ends with the supervisor.
            pins_fd: A file with what to serve; None for what the repository holds.
            peers_token: Text that all workers of the supervisor have in common.
        """
        self.peers_token = peers_token
        self._report_fd = report_fd
        self._lifeline_fd = lifeline_fd
        self._writing = threading.Lock()
        self._may_listen = threading.Event()
        self._say_own_counts: Callable[[], bytes] = bytes
        self.orders: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.counts = WorkerCounts(self.say)
        self.pins = None if pins_fd is None else _read_all(pins_fd)

    def follow(self, on_end: Callable[[], None]) -> None:
        """Call `on_end`, on a thread of its own, when the supervisor has ended, for whatever reason."""

        def read() -> None:
            unread = b""
            while said := os.read(self._lifeline_fd, 1 << 16):
                *lines, unread = (unread + said).split(b"\n")
                for line in lines:
                    self._take(line.decode())
            on_end()

        threading.Thread(target=read, name="lifeline", daemon=True).start()

    def count_with(self, own: Callable[[], bytes]) -> None:
        """Say from now on what this worker has counted: a ModelStatisticsResponse, made by `own`."""
        self._say_own_counts = own

    def _take(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "listen":
            self._may_listen.set()
        elif word == "counts":
            self.counts.take(rest)
        elif word == "count":
            self.counts.say_own(rest, self._say_own_counts())
        else:
            self.orders.put(line)

    def say_loaded(self, pins: str) -> None:
        """Say what has been loaded, and wait until the supervisor lets this worker listen."""
        self.say(f"loaded {pins}")
        self._may_listen.wait()

    def say_ready(self) -> None:
        """Say that this worker listens."""
        self.say("ready")

    def beat(self, complaint: Callable[[], str | None], log: Callable[[str], None]) -> None:
        """Beat, on a thread of its own, as long as there is no complaint.

        Args:
            complaint: A function that says what makes no progress, or gives None.
            log: A function that takes a complaint, once.
        """

        def beat_on() -> None:
            count = 0
            while True:
                said = complaint()
                if said is None:
                    count = 0
                    self.say("beat")
                else:
                    count += 1
                    if count == _COMPLAINTS:
                        log(said)
                time.sleep(_BEAT_SECONDS)

        threading.Thread(target=beat_on, name="heartbeat", daemon=True).start()

    def say(self, line: str) -> None:
        """Write a line, on any thread. What is longer than the pipe holds is written as the supervisor reads it."""
        rest = line.encode() + b"\n"
        try:
            with self._writing:
                while rest:
                    rest = rest[os.write(self._report_fd, rest) :]
        except OSError:
            return  # the supervisor has ended; `follow` tells


def _read_all(fd: int) -> str:
    with os.fdopen(fd, "rb") as file:
        return file.read().decode()
