"""The same message in many calls of one connection."""

import time

from ..attack import Strike
from ..http2 import DATA, END_HEADERS, END_STREAM, HEADERS, Http2Connection, call_headers, frame
from .noting import note_frames

__all__ = ["send_calls"]


def send_calls(
    strike: Strike, connection: Http2Connection, message: bytes, count: int, *headers: tuple[str, str]
) -> None:
    """Send a message of ModelInfer as often as told, or until it is no longer taken; then note what came back.

    Args:
        strike: The attack.
        connection: A connection of its own.
        message: As gRPC frames it.
        count: How many calls.
        headers: Of each call, beside those that every call has.
    """
    block = call_headers(strike.target.path("ModelInfer"), *headers)
    for stream in range(1, 2 * count, 2):
        connection.send(frame(HEADERS, END_HEADERS, stream, block), strike.until)
        if connection.send_data(stream, message, strike.until) < len(message):
            break
        connection.send(frame(DATA, END_STREAM, stream), strike.until)
        strike.answers.note("SENT")
    time.sleep(strike.left())
    note_frames(strike.answers, connection)
