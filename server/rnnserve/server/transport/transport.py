"""What serves ModelInfer and ModelStreamInfer, as the gRPC server sees it: the lane, or grpcio's own threads."""

from collections.abc import Callable
from typing import Protocol

from rnnserve.server.errors import ServeError

__all__ = ["Transport"]


class Transport(Protocol):
    """A way of requests from gRPC's core to their answers. Any thread may use it.

    Attributes:
        threads: Threads of requests that may run at once, each with a stack, beside those of the models.
    """

    threads: int

    @property
    def taken(self) -> int:
        """How many calls have arrived."""

    @property
    def in_flight(self) -> int:
        """How many requests have arrived, and have not been answered."""

    @property
    def is_receiving(self) -> bool:
        """Whether bytes of a call's message may have arrived that no budget counts yet."""

    @property
    def has_streams(self) -> bool:
        """Whether streams are open, on any of which a message may be arriving."""

    def start(self) -> None:
        """Begin to serve, after the gRPC server has been started."""

    def look(self, at: float) -> None:
        """Look at the connections, and slow down those that keep all others waiting. For the guards' thread.

        Args:
            at: Time in seconds on the clock of `clock`.
        """

    def turns_of_threads(self) -> dict[str, Callable[[], float]]:
        """By the name of each thread that takes calls: a number that is another after each of its turns."""

    def hung(self) -> list[str]:
        """What takes too long, in words; or nothing."""

    def end_late(self, count: int) -> int:
        """End as many calls whose messages do not arrive, or several times as many streams; return how many."""

    def note_short(self, is_short: bool) -> None:
        """Note whether memory is short."""

    def bound_receiving(self, at_most: int | None) -> None:
        """Receive no more messages at once from now on, and one after a large one: there is little memory.

        Args:
            at_most: Messages that are received at once at the most, and streams that may be open, where each may
                receive one, too; None for as many as at first.
        """

    def hold(self) -> None:
        """Hold answers back, until `release`."""

    def release(self) -> None:
        """Let answers be sent."""

    def end_streams(self, error: ServeError) -> None:
        """End every stream when what is in hand of it has been answered."""

    def end_revoked(self) -> None:
        """End the streams whose tokens do not admit to them any more."""

    def stop_accepting(self) -> None:
        """Request no more calls of gRPC's core. To be called before the gRPC server is stopped."""

    def end(self, deadline: float, /) -> list[str]:
        """Wait, until `deadline` on the clock of `clock`, for what is under way; return what has not ended, in words.

        To be called when the gRPC server has been stopped.
        """
