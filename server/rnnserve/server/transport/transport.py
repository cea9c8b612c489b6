"""What serves ModelInfer and ModelStreamInfer, as the gRPC server sees it: the lane, or grpcio's own threads."""

from collections.abc import Callable
from typing import Protocol

from rnnserve.server.errors import ServeError

__all__ = ["Transport"]


class Transport(Protocol):
    """A way of requests from gRPC's core to their answers. Any thread may use it."""

    @property
    def threads(self) -> int:
        """Threads of requests that may run at once, each with a stack, beside those of the models."""

    @property
    def taken(self) -> int:
        """How many calls have arrived."""

    @property
    def is_receiving(self) -> bool:
        """Whether bytes of a message may have arrived that no budget counts yet."""

    @property
    def has_streams(self) -> bool:
        """Whether streams are open, on any of which a message may be arriving."""

    def start(self) -> None:
        """Begin to serve, after the gRPC server has been started."""

    def turns(self) -> dict[str, Callable[[], float]]:
        """By the name of each thread that takes calls: a number that is another after each of its turns."""

    def hung(self) -> list[str]:
        """What takes too long, in words; or nothing."""

    def end_late(self, count: int) -> int:
        """End calls and streams whose messages do not arrive, since memory is short.

        Args:
            count: How many calls at most; several times as many streams.

        Returns:
            How many.
        """

    def note_short(self, is_short: bool) -> None:
        """Note whether memory is short."""

    def hold(self) -> None:
        """Hold answers back, until `release`."""

    def release(self) -> None:
        """Let answers be sent."""

    def end_streams(self, error: ServeError) -> None:
        """End every stream when what is in hand of it has been answered, where a stream can go on elsewhere."""

    def stop_accepting(self) -> None:
        """Request no more calls of gRPC's core. To be called before the gRPC server is stopped."""

    def end(self, deadline: float, /) -> list[str]:
        """Wait for the end of what it does, after the gRPC server has been stopped.

        Args:
            deadline: In seconds on the clock of `batching.clock`.

        Returns:
            What has not ended, in words.
        """
