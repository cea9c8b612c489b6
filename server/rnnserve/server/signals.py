"""The signals of a process, read from a pipe, so that none can be lost; and the stacks of its threads, on request.

Python runs a signal's handler on the main thread, between two steps of its interpreter. A signal that arrives after the
last step before the main thread sleeps in a lock (`Event.wait()`, `Thread.join()`) is therefore handled only when
something else wakes that thread, which may be never. `signal.set_wakeup_fd` writes the signal's number to a pipe in the
C handler itself, on whichever thread the kernel interrupts; the byte stays in the pipe until it is read, and a thread
that sleeps in `read` on the pipe is woken by it.
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
"""Seconds in which signals that ask for the end count once. Whoever ends a process may signal its whole group besides:
`timeout` sends SIGTERM to the process and then to the group, `make` passes on what the group has had, and some runners
turn the terminal's SIGINT into a SIGTERM. No one means the second one of so few milliseconds."""


class SignalPipe:
    """Signals in the order of their arrival, instead of their default actions. For the main thread.

    The kernel sends SIGHUP when a terminal is closed, and an operator to have the repository loaded again. If the
    terminal of this process has gone, SIGHUP is read as SIGTERM, unless the process was to outlive it (`nohup`).
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        self._needs_terminal = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()
        self.fd, self._write_fd = os.pipe()  # readable while a signal waits to be read
        os.set_blocking(self._write_fd, False)  # `set_wakeup_fd` asks for it
        self._handlers = {number: signal.signal(number, _leave_to_pipe) for number in numbers}
        self._wakeup_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)

    def read(self) -> list[signal.Signals]:
        """Return the signals that have arrived; wait for one if there is none. Empty after the end."""
        numbers = [signal.Signals(number) for number in os.read(self.fd, 64)]
        if signal.SIGHUP in numbers and self._needs_terminal and not _has_terminal():
            return [signal.SIGTERM if number == signal.SIGHUP else number for number in numbers]
        return numbers

    def end(self) -> None:
        """Receive no more signals; they have again the actions that they had."""
        signal.set_wakeup_fd(self._wakeup_fd)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._write_fd)


@contextlib.contextmanager
def receive_signals(*numbers: signal.Signals) -> Iterator[SignalPipe]:
    """Receive these signals inside a `with`, to be read by the caller."""
    signals = SignalPipe(*numbers)
    try:
        yield signals
    finally:
        signals.end()
        os.close(signals.fd)


@contextlib.contextmanager
def follow_signals(take: Callable[[signal.Signals], None], *numbers: signal.Signals) -> Iterator[None]:
    """Receive these signals inside a `with`, and call `take` with each on another thread, while this one works."""
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
    """Write the stacks of all threads at SIGUSR1, without the interpreter's lock, and then call its handler, if any."""
    is_handled = callable(signal.getsignal(signal.SIGUSR1))
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True, chain=is_handled)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError as error:
        return error.errno not in (errno.ENXIO, errno.EIO, errno.ENOENT)
    return True


def _leave_to_pipe(*_: object) -> None:
    """Do nothing: the C handler has written to the pipe already."""
