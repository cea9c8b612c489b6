"""Who sends the requests of a sequence, and which sequences it can reach.

Each connection has ids of its own: what one connection began no other one can continue, end, replace or hold up,
whichever id it guesses, and two clients that take the same id do not meet. A request that brings a `sequence_key` is
looked for among the sequences that began with the same key, whichever connection it comes on. With `--share-sequences`
all connections share their ids, as in Triton.
"""

from typing import Protocol

from rnnserve.server.access.gate import Grant

__all__ = ["ANY_CONNECTION", "Caller", "StreamOwner", "scope_of_key"]

ANY_CONNECTION = ""
"""The scope of ids that all connections share."""


class Caller(Protocol):
    """What sends a request."""

    @property
    def grant(self) -> Grant | None:
        """What its token admits to; None where none was asked for."""

    def peer(self) -> str:
        """Name its connection, as gRPC does: "ipv4:127.0.0.1:50000"."""


class StreamOwner:
    """A stream that sequences are sent on. While it is open, no other call may continue them.

    Attributes:
        is_open: Whether it still is.
        grant: What its token admits to; None where none was asked for.
    """

    __slots__ = ("__weakref__", "grant", "is_open")

    def __init__(self) -> None:
        self.is_open = True
        self.grant: Grant | None = None


def scope_of_key(key: str) -> str:
    """The scope of the ids that go with a `sequence_key`: no connection has such a name."""
    return f"key {key}"
