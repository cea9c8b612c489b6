"""Receive a process's signals through a pipe, so that none is lost, and print the stacks of its threads on request.

Python runs signal handlers on the main thread, between two steps of its interpreter. If a signal arrives after the last
step before the main thread sleeps in a lock (`Event.wait()`, `Thread.join()`), it is handled only when something else
wakes that thread, which may never happen. `signal.set_wakeup_fd` avoids this: the C handler writes the signal's number
to a pipe, on whichever thread the kernel interrupts. The byte stays in the pipe until it is read, and wakes a thread
that sleeps in `read` on the pipe.
"""

import contextlib
import errno
import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator

__all__ = [
    "SAME_SECONDS",
    "SignalPipe",
    "follow_signals",
    "receive_signals",
    "show_stacks_at_signal",
]

SAME_SECONDS = 0.5
"""Seconds in which several signals that request the end count as one. A process may get the same signal twice:
`timeout` sends SIGTERM to the process and then to its group, `make` forwards the signals of its group, and some runners
turn the terminal's SIGINT into a SIGTERM. A second signal after so short a time is never intended."""


class SignalPipe:
    """Receives signals in order of arrival instead of their default actions. Only for the main thread.

    The kernel sends SIGHUP when a terminal is closed, and operators send it to reload the repository. If this process's
    terminal has gone, SIGHUP is treated as SIGTERM, unless the process was meant to outlive it (`nohup`).
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._needs_terminal = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()
        self.fd, self._write_fd = os.pipe()  # readable while a signal is pending
        os.set_blocking(self._write_fd, False)  # required by `set_wakeup_fd`
        self._handlers = {number: signal.signal(number, _leave_to_pipe) for number in numbers}
        self._wakeup_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def read(self) -> list[signal.Signals]:
        """Return the arrived signals, or wait for one. The list is empty after the end."""
        numbers = [signal.Signals(number) for number in os.read(self.fd, 64)]
        if signal.SIGHUP in numbers and self._needs_terminal and not _has_terminal():
            return [signal.SIGTERM if number == signal.SIGHUP else number for number in numbers]
        return numbers

    def end(self) -> None:
        """Stop receiving signals, and restore their previous actions."""
        signal.set_wakeup_fd(self._wakeup_fd)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._write_fd)


@contextlib.contextmanager
def receive_signals(*numbers: signal.Signals) -> Iterator[SignalPipe]:
    """Receive these signals within a `with` block. The caller reads them."""
    signals = SignalPipe(*numbers)
    try:
        yield signals
    finally:
        signals.end()
        os.close(signals.fd)


@contextlib.contextmanager
def follow_signals(take: Callable[[signal.Signals], None], *numbers: signal.Signals) -> Iterator[None]:
    """Receive these signals within a `with` block, and call `take` for each of them on another thread."""
    signals = SignalPipe(*numbers)

    def follow() -> None:
        while arrived := signals.read():
            for number in arrived:
                take(number)

    thread = threading.Thread(target=follow, name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signals.end()
        thread.join()
        os.close(signals.fd)


def show_stacks_at_signal() -> None:
    """At SIGUSR1, print the stacks of all threads without taking the GIL, then call the previous handler, if any."""
    is_handled = callable(signal.getsignal(signal.SIGUSR1))
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True, chain=is_handled)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError as error:
        return error.errno not in (errno.ENXIO, errno.EIO, errno.ENOENT)
    return True


def _leave_to_pipe(*_: object) -> None:
    """Do nothing, because the C handler has already written to the pipe."""
