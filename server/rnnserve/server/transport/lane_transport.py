"""The lane as the gRPC server's transport: with the dispatcher that answers its calls, and a guard against floods."""

from collections.abc import Callable

import grpc

from rnnserve.protos.access_table import Need
from rnnserve.protos.protocol_words import FRONT_EXCHANGE
from rnnserve.server.access.gate import Gate
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.connections.flood_guard import (
    FloodGuard,
    Progress,
    address_of,
    arrived_by_connection,
    bound_window,
)
from rnnserve.server.lane.completion_queue import Lane
from rnnserve.server.lane.dispatcher import Dispatcher
from rnnserve.server.settings import Settings
from rnnserve.server.transport.core_options import message_bytes

__all__ = ["SERVICE", "LaneTransport"]

SERVICE = "inference.GRPCInferenceService"

_LARGE_AT_ONCE = 4
"""Of the messages that may be arriving on one connection, as many may be large. After the first, the lane receives two
at once; a connection that begins with more large ones than these may be slowed down for a second."""

_CLOSE_SECONDS = 1.0
"""Seconds in which the large requests that wait may end."""


class LaneTransport(Lane):
    """Implements `Transport`."""

    threads = 0  # beside the lane's own

    def __init__(
        self,
        server: grpc.Server,
        dispatcher: Dispatcher,
        budget: ByteBudget,
        end_connection: Callable[[str], None],
        port: Callable[[], int],
        settings: Settings,
        gate: Gate | None = None,
    ) -> None:
        """Prepare, as `Lane` does; `port` gives where the server listens."""
        super().__init__(
            server,
            f"/{SERVICE}/ModelInfer",
            dispatcher,
            budget,
            end_connection,
            stream_method=f"/{SERVICE}/ModelStreamInfer",
            max_streams=settings.max_streams,
            front_method=FRONT_EXCHANGE if settings.private_sockets is not None else "",
            gate=gate,
        )
        self._dispatcher = dispatcher
        self._message_bytes = message_bytes(settings)
        self._max_streams = settings.max_streams
        self._flood_guard = FloodGuard(
            self._progress,
            lambda: arrived_by_connection(port()),
            self._expected,
            lambda connection, size: bound_window(port(), connection, size),
        )

    @property
    def is_receiving(self) -> bool:
        """Whether the message of a call has not arrived yet."""
        return self.late.is_receiving

    @property
    def has_streams(self) -> bool:
        """Whether streams are open."""
        return self.late.has_streams

    @property
    def in_flight(self) -> int:
        """How many requests are in hand: those of streams, of fronts, and calls of their own."""
        streams, fronts = list(self._streams), list(self._new.fronts)
        calls = max(self._open_calls - len(streams) - len(fronts), 0)
        return calls + sum([stream.in_hand for stream in streams]) + sum([front.in_hand for front in fronts])

    def look(self, at: float) -> None:
        """Slow down connections whose bytes keep the lane's thread."""
        self._flood_guard.look(at)

    def turns_of_threads(self) -> dict[str, Callable[[], float]]:
        """Turns of the lane's thread."""
        return {"the lane's thread": lambda: self.turns}

    def hung(self) -> list[str]:
        """Name the parsing of a large request, where it takes too long."""
        return ["the parsing of a large request"] if self._dispatcher.is_hung() else []

    def end_late(self, count: int) -> int:
        """End calls whose message does not arrive, or else streams from which nothing comes."""
        return self.late.end_silent(count)

    def note_short(self, is_short: bool) -> None:
        """Nothing: the lane receives few messages beside those that are late."""

    def bound_receiving(self, at_most: int | None) -> None:
        """Receive no more messages at once, and keep no more streams open."""
        self._window.bound(at_most)
        self._streams.most = self._max_streams if at_most is None else min(self._max_streams, at_most)

    def end_revoked(self) -> None:
        """End the streams whose tokens do not admit to them any more."""
        for stream in list(self._streams):
            if stream.grant is not None and not stream.grant.admits(Need.INFER):
                stream.end(stream.grant.refusal())

    def end(self, deadline: float, /) -> list[str]:
        """Wait for the lane's last answer, and for the last large request."""
        left = []
        if self.is_running():  # not where the server has never started
            self.join(max(0.0, deadline - now()))
            if self.is_running():
                left.append("requests on the lane")
        if not self._dispatcher.close(_CLOSE_SECONDS):
            left.append("large requests")
        return left

    def _progress(self) -> Progress | None:
        """How far the lane's thread has come: it makes turns, or hands calls on."""
        seconds = self.seconds_of_poll()
        return None if seconds is None else Progress(self.turns + self.taken, seconds)

    def _expected(self) -> dict[str, int]:
        """Bytes of messages that may be arriving on the lane, by the address of the connection's peer."""
        receiving = self.late.receiving()
        return {address_of(peer): self._message_bytes * min(count, _LARGE_AT_ONCE) for peer, count in receiving.items()}
