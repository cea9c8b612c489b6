"""A worker's ends of the pipes to its supervisor: see `messages` for what is said on them."""

import logging
import os
import threading
import time
from collections.abc import Callable

from rnnserve.server.repository.pins import Pins, read_pins
from rnnserve.server.workers import messages
from rnnserve.server.workers.joint_loading import WorkerAgreement
from rnnserve.server.workers.message_lines import MessageReader, encode
from rnnserve.server.workers.worker_statistics import WorkerCounts

__all__ = ["Supervised"]

_log = logging.getLogger(__name__)

_BEAT_SECONDS = 1.0

_COMPLAINTS = 3
"""Complaints in a row that are logged: a step of the lane may last longer than a beat."""


class Supervised:
    """What a worker tells its supervisor, and is told.

    Attributes:
        pins: What to serve; None for what the repository holds.
        agreement: With the other workers, about changes.
        counts: What the other workers have counted.
        peers_token: What names the messages between the workers (`peers`).
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
        self._own_counts: Callable[[], bytes] = bytes
        self.agreement = WorkerAgreement(self.say)
        self.counts = WorkerCounts(self.say)
        self.pins = None if pins_fd is None else _read_pins(pins_fd)

    def follow(self, on_end: Callable[[], None]) -> None:
        """Call `on_end`, on a thread of its own, when the supervisor has ended, for whatever reason."""

        def read() -> None:
            reader = MessageReader(messages.SupervisorMessage, "the supervisor")
            while said := os.read(self._lifeline_fd, 1 << 16):
                for message in reader.read(said):
                    try:
                        self._take(message)
                    except Exception:  # noqa: BLE001 - this thread is what notices the supervisor's end
                        _log.exception("%s of the supervisor could not be done", type(message).__name__)
            on_end()

        threading.Thread(target=read, name="lifeline", daemon=True).start()

    def count_with(self, own: Callable[[], bytes]) -> None:
        """Say from now on what this worker has counted: a ModelStatisticsResponse, made by `own`."""
        self._own_counts = own

    def _take(self, message: messages.SupervisorMessage) -> None:
        match message:
            case messages.Listen():
                self._may_listen.set()
            case messages.Count(number):
                self.say(messages.Counted(number, self._own_counts()))
            case messages.Counts():
                self.counts.take(message)
            case _:
                self.agreement.take(message)

    def say_loaded(self, pins: Pins) -> None:
        """Say what has been loaded, and wait until the supervisor lets this worker listen."""
        self.say(messages.Loaded(pins))
        self._may_listen.wait()

    def say_ready(self) -> None:
        """Say that this worker listens."""
        self.say(messages.Ready())

    def beat(
        self,
        complaint: Callable[[], str | None],
        log: Callable[[str], None],
        count: Callable[[], None] = lambda: None,
    ) -> None:
        """Beat, on a thread of its own, as long as there is no complaint.

        Args:
            complaint: A function that says what makes no progress, or gives None.
            log: A function that takes a complaint, once.
            count: A function that writes down what is true now, for the metrics.
        """

        def beat_on() -> None:
            complaints = 0
            while True:
                count()
                said = complaint()
                if said is None:
                    complaints = 0
                    self.say(messages.Beat())
                else:
                    complaints += 1
                    if complaints == _COMPLAINTS:
                        log(said)
                time.sleep(_BEAT_SECONDS)

        threading.Thread(target=beat_on, name="heartbeat", daemon=True).start()

    def say(self, message: messages.WorkerMessage) -> None:
        """Write a message, on any thread. What is longer than the pipe holds is written as the supervisor reads it."""
        rest = encode(message)
        try:
            with self._writing:
                while rest:
                    rest = rest[os.write(self._report_fd, rest) :]
        except OSError:
            return  # the supervisor has ended; `follow` tells


def _read_pins(fd: int) -> Pins:
    with os.fdopen(fd, "rb") as file:
        return read_pins(file.read().decode())
