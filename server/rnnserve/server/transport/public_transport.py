"""grpcio's own threads as the gRPC server's transport: each request that waits keeps one."""

from collections.abc import Callable

import grpc

from rnnserve.server.connections.flood_guard import FloodGuard, arrived_by_connection, bound_window
from rnnserve.server.errors import ServeError
from rnnserve.server.grpcio_private.accepting import Accepting
from rnnserve.server.settings import Settings
from rnnserve.server.transport.arriving import Arriving
from rnnserve.server.transport.core_options import AHEAD, message_bytes
from rnnserve.server.transport.pools import INFERENCE_THREADS, Pools
from rnnserve.server.transport.public_progress import PublicProgress

__all__ = ["PublicTransport"]

_STREAMS_A_CALL = 8
"""Streams that are ended for each call that might be, where memory is short: which of them hold it is not known."""


class PublicTransport:
    """Implements `Transport`."""

    threads = INFERENCE_THREADS

    def __init__(self, server: grpc.Server, pools: Pools, port: Callable[[], int], settings: Settings) -> None:
        """Prepare.

        Args:
            server: The server, which has not been started.
            pools: The threads that answer.
            port: The port on which the server listens.
            settings: Settings of how large messages may be.
        """
        self._inference = pool = pools.inference
        self._streams = pools.streams
        self._accepting = Accepting(server, lambda: pool.in_hand, lambda: pool.taken, pool.capacity)
        pool.late.arriving = self._streams.late.arriving = Arriving(lambda: arrived_by_connection(port()))
        progress = PublicProgress(pools.received, pools.all, message_bytes(settings), AHEAD)
        self._flood_guard = FloodGuard(
            progress.progress,
            lambda: arrived_by_connection(port()),
            progress.expected,
            lambda connection, size: bound_window(port(), connection, size),
        )

    @property
    def taken(self) -> int:
        """How many calls of ModelInfer have arrived."""
        return self._inference.taken

    @property
    def in_flight(self) -> int:
        """How many calls of ModelInfer are in hand; which streams wait for an answer is not known here."""
        return self._inference.in_hand

    @property
    def is_receiving(self) -> bool:
        """Whether the message of a call is awaited: that of a stream may be, too, so `has_streams` tells both."""
        return False

    @property
    def has_streams(self) -> bool:
        """Whether calls or streams wait for their clients."""
        return self._inference.has_silent or self._streams.has_silent

    def start(self) -> None:
        """Take many calls at a time from gRPC's core where a crowd waits there."""
        self._accepting.start()

    def look(self, at: float) -> None:
        """Slow down connections whose bytes keep the threads that read."""
        self._flood_guard.look(at)

    def turns_of_threads(self) -> dict[str, Callable[[], float]]:
        """None beside those of grpcio's own thread."""
        return {}

    def hung(self) -> list[str]:
        """Nothing: a request's own thread parses it."""
        return []

    def end_late(self, count: int) -> int:
        """End calls whose message does not arrive, or else streams from which nothing comes."""
        return self._inference.late.end_silent(count) or self._streams.late.end_silent(_STREAMS_A_CALL * count)

    def note_short(self, is_short: bool) -> None:
        """While memory is short, receive no more messages beside those that are late."""
        self._inference.is_short_of_memory = is_short

    def bound_receiving(self, at_most: int | None) -> None:
        """Receive no more messages at once: on streams, too, which take turns."""
        self._inference.bound_receiving(at_most)
        self._streams.bound_receiving(at_most)

    def hold(self) -> None:
        """Hold answers back."""
        self._inference.hold()
        self._streams.hold()

    def release(self) -> None:
        """Let answers be sent."""
        self._inference.release()
        self._streams.release()

    def end_streams(self, error: ServeError) -> None:
        """Nothing: gRPC's core ends them with the server."""

    def end_revoked(self) -> None:
        """Nothing: `CallAccess` ends them, as those of other methods."""

    def stop_accepting(self) -> None:
        """Take one call at a time from gRPC's core, as grpcio does."""
        self._accepting.stop()

    def end(self, _: float, /) -> list[str]:
        """Nothing: gRPC's core says whether calls have ended."""
        return []
