"""Tags of a stream's events on the completion queue: each names the method that handles them."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["OVER", "StreamTag"]

_M = TypeVar("_M", covariant=True)


class StreamTag(Generic[_M]):
    """Tag of the events of a stream that one method of it handles.

    Attributes:
        complete: Handles an event, and gives what it brings, if it does.
    """

    __slots__ = ("complete",)

    def __init__(self, complete: Callable[[Any], _M | None]) -> None:
        """Take the method."""
        self.complete = complete


def _no_more(_: Any) -> None:  # noqa: ANN401 - grpcio's own
    raise AssertionError("an event came after the last one of its stream")


OVER: StreamTag[Any] = StreamTag(_no_more)
"""In the place of the tags of a stream that is over."""
