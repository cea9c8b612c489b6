"""The bodies of requests: bounded before they are read, where a header tells their size, and while they are."""

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping

from starlette.types import Message, Receive, Scope

from rnnserve.web.app.large_bodies import LARGE, beside_loop
from rnnserve.web.app.turns import Turns
from rnnserve.web.errors import RestError, bad_request
from rnnserve.web.rest.compression import Inflater
from rnnserve.web.scope_keys import HALF_CLOSED

__all__ = ["BodyReader", "ClientGone", "read_header_length"]


_SMALL = 64 << 10
"""Bytes of a body that finds room where large ones do not."""

_FOR_SMALL_SHARE = 6
"""Of all the room, the share that only small bodies may take: a sixth."""

_TURN_BYTES = 4 << 20
"""Bytes of requests of more than 64 KiB that are at the server at a time."""

_SLOW_RATE, _SLOW_SECONDS, _SLOW_SECONDS_FOR_SMALL = 1 << 20, 2.0, 0.1
"""A body that arrives with fewer bytes a second, for as many seconds, gives way where others find no room."""


class ClientGone(Exception):
    """The client has closed its connection before its request was whole."""


@dataclasses.dataclass
class _Arriving:
    """A body that has not come whole.

    Attributes:
        scope: Scope of its request.
        task: What reads it.
        since: When it began, on the loop's clock.
        size: Bytes that have arrived.
        gives_way: Whether it has to end for the sake of others.
    """

    scope: Scope
    task: "asyncio.Task[object]"
    since: float
    size: int = 0
    gives_way: bool = False


class BodyReader:
    """Reads bodies: each bounded, and all that are in hand together.

    Attributes:
        held: Bytes of the bodies that are being read, or are read and not let go, and of large answers.
        turns: Turns of large requests at the server.
    """

    def __init__(self, most: int, most_of_all: int) -> None:
        """Begin with none.

        Args:
            most: Bytes of a body, as sent and decompressed.
            most_of_all: Bytes of all bodies in hand.
        """
        self._most = most
        self._most_of_all = most_of_all
        self.held = 0
        self.turns = Turns(_TURN_BYTES)
        self._arriving: dict[int, _Arriving] = {}  # by the identity of its scope; the oldest first

    async def read(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """Read a request's body, decompressed. What it takes is held until `let_go`.

        Args:
            scope: Scope of ASGI; `let_go` needs it again.
            headers: Headers of the request.
            receive: Function of ASGI that gives the next part.

        Raises:
            ClientGone: If the client has.
            RestError: If the body is larger than one may be, others take all the room, or it is damaged.
        """
        length = int(headers.get(b"content-length", b"0"))
        if length > self._most:
            raise self._too_large(f"{length:,} bytes")
        if length > _SMALL:  # of a small one, what has arrived
            self.hold(scope, length)
        coding = headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        inflater = Inflater(coding, self._most) if coding and coding != "identity" else None
        message = await receive()
        if inflater is None and message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
        else:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - every request is one
            arriving = self._arriving[id(scope)] = _Arriving(scope, task, asyncio.get_running_loop().time())
            try:
                body = await self._read_on(scope, arriving, message, receive, inflater)
            except asyncio.CancelledError:
                if not arriving.gives_way:
                    raise
                arriving.task.uncancel()
                why = "its client had closed its side" if scope.get(HALF_CLOSED) else "the body arrived slowly"
                raise RestError(408, f"{why} while others found no room; send it again") from None
            finally:
                del self._arriving[id(scope)]
        self._count(scope, len(body))
        if len(body) > self._most:
            raise self._too_large("more")
        scope["rnnserve.read"] = True
        return body

    async def _read_on(
        self, scope: Scope, arriving: "_Arriving", message: Message, receive: Receive, inflater: Inflater | None
    ) -> bytes:
        """Read a body that has not come whole, or is compressed."""
        body = bytearray()
        while True:
            if message["type"] != "http.request":
                raise ClientGone
            arrived: bytes = message.get("body", b"")
            arriving.size += len(arrived)
            if arriving.size > self._most:
                raise self._too_large("more")
            if inflater is None:
                self._count(scope, len(body) + len(arrived))
                body += arrived
            else:
                steps: Iterator[bytes | None] = inflater.feed(arrived)
                step = next(steps)
                while step is not None:
                    self._count(scope, len(body) + len(step))
                    body += step
                    # What is more than one step goes to a thread, which has one step of one body at a time.
                    step = await beside_loop(LARGE, _next, steps)
            if not message.get("more_body", False):
                break
            message = await receive()
        if inflater is not None:
            inflater.end()
        return bytes(body)

    def take(self, size: int) -> bool:
        """Hold a body that has come whole; False where others take all the room, or it is too large."""
        if size > self._most or (self.held and self.held + size > self._most_of_all):
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Note that a request whose body was taken has been answered."""
        self.held -= size

    def let_go(self, scope: Scope) -> None:
        """Note that a request has been answered."""
        self.held -= scope.pop("rnnserve.held", 0)

    def hold(self, scope: Scope, size: int) -> None:
        """Count bytes of a request or its answer among those in hand, until `let_go`.

        Raises:
            RestError: If others take all the room.
        """
        held = scope.get("rnnserve.held", 0)
        is_small = held + size <= _SMALL
        most = self._most_of_all if is_small else self._most_of_all - self._most_of_all // _FOR_SMALL_SHARE
        if size and self.held + size > most and self.held > held and not self._make_room(scope, most - size, is_small):
            raise RestError(
                429,
                f"the bodies of other requests, and answers, take {self.held - held:,} bytes of the {most:,} that may "
                "be in hand at a time; slow down",
                headers={"retry-after": "1"},
            )
        self.held += size
        scope["rnnserve.held"] = held + size

    def _count(self, scope: Scope, size: int) -> None:
        """Hold so many bytes at least."""
        held = scope.get("rnnserve.held", 0)
        if size > held:
            self.hold(scope, size - held)

    def _make_room(self, scope: Scope, most: int, is_small: bool) -> bool:
        """Have bodies of other requests give way until no more than `most` bytes are held.

        First those whose clients may have gone, then those that arrive slowly; the oldest first.
        """
        now = asyncio.get_running_loop().time()
        seconds = _SLOW_SECONDS_FOR_SMALL if is_small else _SLOW_SECONDS
        others = [arriving for arriving in self._arriving.values() if arriving.scope is not scope]
        for arriving in sorted(others, key=lambda arriving: HALF_CLOSED not in arriving.scope):
            if self.held <= most:
                break
            waited = now - arriving.since
            is_slow = waited > seconds and arriving.size < waited * _SLOW_RATE
            if (is_slow or HALF_CLOSED in arriving.scope) and not arriving.gives_way:
                arriving.gives_way = True
                self.let_go(arriving.scope)
                arriving.task.cancel()
        return self.held <= most

    def _too_large(self, what: str) -> RestError:
        return RestError(
            413,
            f"the body has {what}, and at most {self._most:,} bytes are read (--max-body-bytes): send fewer rows (the "
            "batch axis) a request, or binary tensors",
        )


def _next(steps: Iterator[bytes | None]) -> bytes | None:
    return next(steps, None)


def read_header_length(headers: Mapping[bytes, bytes], all_headers: list[tuple[bytes, bytes]]) -> int | None:
    """Read Inference-Header-Content-Length; None where the request has none.

    Args:
        headers: Headers by name.
        all_headers: Headers in the order in which they came.

    Raises:
        RestError: If it comes twice, or is no number.
    """
    name = b"inference-header-content-length"
    value = headers.get(name)
    if value is None:
        return None
    if sum(each == name for each, _ in all_headers) > 1:
        raise bad_request("Inference-Header-Content-Length comes twice")
    text = value.decode("latin-1").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise bad_request(
            f"Inference-Header-Content-Length is {text[:100]!r}: it is the number of bytes of the JSON before the "
            "binary data, decompressed"
        )
    return int(text)
