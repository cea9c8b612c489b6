"""What a connection holds of requests that are not answered yet."""

from collections.abc import Iterable
from typing import Any

__all__ = ["SMALL_BODY", "held_bytes"]

SMALL_BODY = 16 << 10
"""Bytes of a body that are not counted before the application has them."""

_REQUEST_BYTES, _FIELD_BYTES = 4 << 10, 200
"""What a request that waits, and a field of a head, take beside their own bytes, about."""


def held_bytes(unparsed: int, head: int, fields: int, waiting: Iterable[tuple[Any, Any]], body: int) -> int:
    """Count them, about.

    Args:
        unparsed: Bytes that have arrived, and were not parsed.
        head: Bytes of a head that is not whole; the parser has some of them, too.
        fields: Fields of it.
        waiting: Requests that wait for those before them: uvicorn's cycle of each, and its application.
        body: Bytes of the body of the request that is answered, which the application has not taken.
    """
    size = unparsed + (2 * head + _FIELD_BYTES * fields if head else 0)
    size += sum(_REQUEST_BYTES + len(cycle.body) for cycle, _ in waiting)
    return size + body if body > SMALL_BODY else size
