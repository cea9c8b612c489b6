"""What came on a connection whose frames are written by hand."""

import re
import time

import grpc

from ..attack import Answers
from ..http2 import END_STREAM, GOAWAY, HEADERS, RST_STREAM, Http2Connection

__all__ = ["note_frames"]

_PATIENCE = 0.2
"""Seconds without a frame after which no more is expected."""

_STATUS = re.compile(rb"grpc-status[\x01\x02](\d{1,2})")
"""Of header fields that are not compressed: gRPC's core sends them so the first time, and by their index afterwards."""

_LONGEST = 2.0

_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def note_frames(answers: Answers, connection: Http2Connection, calls: int | None = None) -> None:
    """Count answers (header frames that end a stream), resets and the end of the connection.

    Args:
        answers: Where to count them.
        connection: What they come on.
        calls: How many calls were made, so that no more answers are waited for; None for any number.
    """
    until = time.monotonic() + _LONGEST
    answered = 0
    while time.monotonic() < until:
        frames = connection.read(time.monotonic() + _PATIENCE)
        for frame in frames:
            if frame.kind == GOAWAY:
                answers.note(f"GOAWAY {frame.error}", frame.payload[8:].decode(errors="replace"))
            elif frame.kind == RST_STREAM:
                answers.note(f"RST {frame.error}")
            elif frame.kind == HEADERS and frame.flags & END_STREAM:
                answers.note(_status_in(frame.payload))
            answered += frame.kind in (GOAWAY, RST_STREAM) or (frame.kind == HEADERS and frame.flags & END_STREAM == 1)
        if connection.is_closed:
            answers.note("CLOSED")
            return
        if not frames or (calls is not None and answered >= calls):
            break
    if not answered:
        answers.note("SILENT")


def _status_in(headers: bytes) -> str:
    found = _STATUS.search(headers)
    return _NAMES.get(int(found[1]), "ANSWER") if found else "ANSWER"
