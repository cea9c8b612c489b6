"""An HTTP/2 connection with handwritten frames, which no library would send."""

import re
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple, Self

import grpc

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, _PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4

_WINDOW = 65_535
"""Of a connection, and of a stream, until the server says another."""

INITIAL_WINDOW_SIZE = 4
"""The identifier of a setting."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_ERRORS = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip


_STATUS = re.compile(rb"grpc-status[\x01\x02](\d{1,2})")
"""Of header fields that are not compressed: gRPC's core sends them so the first time, and by their index afterwards."""

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


class Frame(NamedTuple):
    """A received frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def error(self) -> str:
        """Name of the error code of RST_STREAM and GOAWAY."""
        data = self.payload[4:8] if self.kind == GOAWAY else self.payload[:4]
        code = int.from_bytes(data, "big")
        return _ERRORS[code] if code < len(_ERRORS) else str(code)


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """Write a frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: str, value: str | bytes) -> bytes:
    """Write a header field, as a literal without indexing."""
    data = value if isinstance(value, bytes) else value.encode()
    return b"\0" + _string(name.encode()) + _string(data)


def call_headers(path: str, *more: tuple[str, str]) -> bytes:
    """The header fields of a gRPC call."""
    fields = (
        (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"), ("te", "trailers"),
        ("content-type", "application/grpc"), *more,
    )  # fmt: skip
    return b"".join(literal(name, value) for name, value in fields)


def grpc_message(payload: bytes, size: int | None = None, *, flag: int = 0) -> bytes:
    """Return a message's five-byte prefix and its payload. `size` may differ from the true size."""
    return struct.pack(">BI", flag, len(payload) if size is None else size) + payload


def _string(data: bytes) -> bytes:
    return _number(len(data)) + data


def _number(number: int) -> bytes:
    """Encode an integer with a prefix of 7 bits (RFC 7541, 5.1)."""
    if number < 127:
        return bytes([number])
    out = bytearray([127])
    number -= 127
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


class Http2Connection:
    """A connection for a `with` statement. It doesn't answer pings or settings.

    Only `send_data` respects the server's windows and acknowledges its settings.

    Attributes:
        is_closed: Whether the server has closed it.
        frames: Received frames that were not read yet.
    """

    def __init__(self, host: str, port: int, settings: tuple[tuple[int, int], ...] = ()) -> None:
        """Connect.

        Args:
            host: The server's.
            port: The server's.
            settings: Identifiers and values of the first SETTINGS frame.

        Raises:
            OSError: If the server takes no connection.
        """
        self._socket = socket.create_connection((host, port), timeout=5)
        self._socket.setblocking(False)
        self._received = b""
        self.is_closed = False
        self.frames: list[Frame] = []
        self._initial_window = self._window = _WINDOW
        self._owes_ack = False
        self._windows: dict[int, int] = {}  # by stream: change of the initial window
        payload = b"".join(struct.pack(">HI", *setting) for setting in settings)
        self.send(PREFACE + frame(SETTINGS, payload=payload), time.monotonic() + 5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes, until: float, *, reads: bool = True) -> bool:
        """Send bytes. Returns False if the connection is closed, or if the server didn't accept all bytes in time.

        Args:
            data: The bytes.
            until: Deadline, on the clock of `time.monotonic`.
            reads: Whether to read incoming data meanwhile. An attacker may leave it unread.
        """
        view = memoryview(data)
        while view and not self.is_closed:
            left = until - time.monotonic()
            if left <= 0:
                return False
            readable, writable, _ = select.select([self._socket] if reads else [], [self._socket], [], left)
            if readable:
                self._receive()
            if writable:
                try:
                    view = view[self._socket.send(view) :]
                except BlockingIOError:
                    continue
                except OSError:
                    self.is_closed = True
        return not self.is_closed

    def send_data(self, stream: int, data: bytes, until: float) -> int:
        """Send data frames without ending the stream, as far as the server's windows allow.

        Returns:
            Number of bytes sent. It is smaller if the connection is closed or the time is over.
        """
        sent = 0
        while sent < len(data) and not self.is_closed and time.monotonic() < until:
            room = min(self._window, self._initial_window + self._windows.get(stream, 0), len(data) - sent, 1 << 14)
            if room <= 0:
                if not select.select([self._socket], [], [], until - time.monotonic())[0]:
                    break
                self._receive()
                continue
            if self._owes_ack:
                self._owes_ack = not self.send(frame(SETTINGS, ACK), until)
            if not self.send(frame(DATA, 0, stream, data[sent : sent + room]), until):
                break
            self._window -= room
            self._windows[stream] = self._windows.get(stream, 0) - room
            sent += room
        return sent

    def read(self, until: float) -> list[Frame]:
        """Wait until a frame arrives, the connection is closed or the time is over. Return all received frames."""
        while not (self.frames or self.is_closed):
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                break
            self._receive()
        found, self.frames = self.frames, []
        return found

    def note(self, note: Callable[..., None], calls: int | None = None) -> None:
        """Count answers (header frames that end a stream), resets and the end of the connection.

        Args:
            note: Function that counts a status, optionally with a text.
            calls: Number of calls, after whose answers to stop waiting; None for any number.
        """
        until, answered = time.monotonic() + 2.0, 0
        while time.monotonic() < until:
            frames = self.read(time.monotonic() + 0.2)
            for found in frames:
                if found.kind == GOAWAY:
                    note(f"GOAWAY {found.error}", found.payload[8:].decode(errors="replace"))
                elif found.kind == RST_STREAM:
                    note(f"RST {found.error}")
                elif found.kind == HEADERS and found.flags & END_STREAM:
                    status = _STATUS.search(found.payload)
                    note(_NAMES.get(int(status[1]), "ANSWER") if status else "ANSWER")
                else:
                    continue
                answered += 1
            if self.is_closed:
                note("CLOSED")
                return
            if not frames or (calls is not None and answered >= calls):
                break
        if not answered:
            note("SILENT")

    def _receive(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.is_closed = True
        self._received += data
        while len(self._received) >= 9:
            size = int.from_bytes(self._received[:3], "big")
            if len(self._received) < 9 + size:
                return
            stream = int.from_bytes(self._received[5:9], "big") & 0x7FFFFFFF
            kind, flags = self._received[3], self._received[4]
            found = Frame(kind, flags, stream, self._received[9 : 9 + size])
            self._received = self._received[9 + size :]
            self._note_window(found)
            self.frames.append(found)

    def _note_window(self, found: Frame) -> None:
        if found.kind == WINDOW_UPDATE:
            opened = int.from_bytes(found.payload, "big")
            if found.stream:
                self._windows[found.stream] = self._windows.get(found.stream, 0) + opened
            else:
                self._window += opened
        elif found.kind == SETTINGS and not found.flags & ACK:
            self._owes_ack = True
            for setting, value in struct.iter_unpack(">HI", found.payload):
                if setting == INITIAL_WINDOW_SIZE:
                    self._initial_window = value
