"""Messages between the workers of one server: one asks all others, and each answers.

Every worker listens on a Unix socket of its own. Its name is abstract: it is in no folder, and ends with the process,
whatever ends it. The names of one server's workers begin with a token that their supervisor has drawn, so that those of
an older generation, which are leaving, are among the peers, too. A peer has to run as the same user: both ends read
from the kernel who the other is.

A message is its length in eight bytes, most significant first, and its bytes; so is the answer. One connection has one
message and one answer.
"""

import contextlib
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rnnserve.server.errors import StartError

__all__ = ["Peers"]

_log = logging.getLogger(__name__)

_SOCKETS = Path("/proc/net/unix")

_LISTENS = 0x10000
"""Flag of a socket that listens: __SO_ACCEPTCON of linux/net.h."""

_LENGTH = struct.Struct("!Q")

_CREDENTIALS = struct.Struct("3i")
"""pid, uid and gid: struct ucred of unix(7)."""

_AT_ONCE = 8
"""Messages that are answered at the same time, and others that are asked: an answer may wait for a run."""

_BACKLOG = 128
_BLOCK = 1 << 20


class Peers:
    """A worker's end of the messages. Any thread may ask."""

    def __init__(self, token: str, *, most: int, seconds: float) -> None:
        """Listen; `start` begins to answer.

        Args:
            token: Text that the names of all workers of this server have in common.
            most: Largest number of bytes of a message, and of an answer.
            seconds: Time that one answer may take.

        Raises:
            StartError: If no socket can be had.
        """
        self._prefix = f"@rnnserve-{token}-"
        self._name = f"{self._prefix}{os.getpid()}"
        self._most = most
        self._seconds = seconds
        self._is_closed = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(_address(self._name))
            self._listener.listen(_BACKLOG)
        except OSError as error:
            self._listener.close()
            raise StartError(f"workers cannot listen to one another: {error.strerror}") from error
        self._answering = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="peer")
        self._asking = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ask peer")

    def start(self, answer: Callable[[bytes], bytes]) -> None:
        """Answer what others ask from now on.

        Args:
            answer: A function that answers a message of another worker, on any thread. What it raises is logged; the
                answer is empty.
        """
        threading.Thread(target=self._accept, args=(answer,), name="peers", daemon=True).start()

    def close(self) -> None:
        """Ask and answer nothing more."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        for pool in (self._answering, self._asking):
            pool.shutdown(wait=False, cancel_futures=True)

    def ask_all(self, message: bytes) -> list[bytes]:
        """Ask all others at the same time; return their answers, without those that are empty or late."""
        try:
            answers = self._asking.map(lambda name: self._ask(name, message), self._others())
        except RuntimeError:  # closed
            return []
        return [answer for answer in answers if answer]

    def ask_one(self, message: bytes) -> bytes:
        """Ask the others, one after another, until one gives an answer that is not empty; return it, or nothing."""
        return next((answer for name in self._others() if (answer := self._ask(name, message))), b"")

    def _others(self) -> list[str]:
        """Names of the sockets of all other workers; the youngest process first, since older ones may be leaving."""
        others = [name for name in _listening() if name.startswith(self._prefix) and name != self._name]
        return sorted(others, key=lambda name: int(name.rpartition("-")[2]), reverse=True)

    def _ask(self, name: str, message: bytes) -> bytes:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(self._seconds)
            connection.connect(_address(name))
            _check_user(connection)
            _write(connection, message)
            return _read(connection, self._most)
        return b""

    def _accept(self, answer: Callable[[bytes], bytes]) -> None:
        while not self._is_closed:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if not self._is_closed:
                    _log.error("no message of another worker can be taken: %s", error.strerror)
                    time.sleep(self._seconds)
                continue
            try:
                self._answering.submit(self._answer_on, connection, answer)
            except RuntimeError:  # closed
                connection.close()

    def _answer_on(self, connection: socket.socket, answer: Callable[[bytes], bytes]) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(self._seconds)
            _check_user(connection)
            message = _read(connection, self._most)
            try:
                answered = answer(message)
            except Exception:  # noqa: BLE001 - whoever asked is to go on without this answer
                _log.exception("a message of another worker could not be answered")
                answered = b""
            _write(connection, answered)


def _address(name: str) -> str:
    """The address of an abstract socket, whose first character is shown as "@"."""
    return f"\0{name[1:]}"


def _listening() -> set[str]:
    """Names of all sockets that listen, as proc(5) has them: address, references, protocol, flags, …, name."""
    found = set()
    for line in _SOCKETS.read_text(errors="replace").splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and int(fields[3], 16) & _LISTENS:
            found.add(fields[7])
    return found


def _check_user(connection: socket.socket) -> None:
    """Check that the other end is of this process's user.

    Raises:
        PermissionError: If it is not.
    """
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(data)
    if user != os.geteuid():
        raise PermissionError(f"a process of the user {user} is no worker of this server")


def _write(connection: socket.socket, data: bytes) -> None:
    connection.sendall(_LENGTH.pack(len(data)) + data)


def _read(connection: socket.socket, most: int) -> bytes:
    """Read what `_write` has written.

    Raises:
        OSError: If it is longer than `most`, ends early, or does not come in time.
    """
    (size,) = _LENGTH.unpack(_read_exactly(connection, _LENGTH.size))
    if size > most:
        raise OSError(f"a message of {size:,} bytes, where {most:,} are allowed")
    return _read_exactly(connection, size)


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        block = connection.recv(min(size - len(data), _BLOCK))
        if not block:
            raise ConnectionError("the other end closed early")
        data += block
    return bytes(data)
