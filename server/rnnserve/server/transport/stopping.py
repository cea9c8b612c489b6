"""How a gRPC server goes: its clients are told, what is under way is answered, and the rest is cut off."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import grpc

from rnnserve.server.clock import now
from rnnserve.server.errors import ShuttingDown
from rnnserve.server.settings import Settings
from rnnserve.server.sockets.goaway import say_goodbye
from rnnserve.server.sockets.listening import count_connections, stop_listening
from rnnserve.server.transport.pools import Pools
from rnnserve.server.transport.transport import Transport

__all__ = ["Stopping"]

_END_SECONDS, _CUT_SECONDS = 1.0, 3.0
"""Seconds beyond the grace in which what has been answered may end, and after which gRPC's core cuts off the rest."""

_FAREWELL_SECONDS = 1.1
"""Seconds for which a front that does not say goodbye, since it hangs, is waited for (`lane.front_stream`)."""

_WRITTEN_SECONDS = 2e-3
"""Seconds after which answers that were not held back have been written."""

_QUIET_SECONDS = 0.1
"""Seconds without a call after which none is under way from a client that was told: a round trip, of any but the most
distant clients. Counted in looks: these take longer where the machine has too much to do, and so do clients."""

_UNTOLD_SECONDS = 1.0
"""The same in all, where clients have not been told since they do not read their answers: they make calls on."""

_HELD_SECONDS = 0.1
"""Seconds for which answers are held back, at most, where clients cannot be told: over TLS."""

_LOOK_SECONDS = 0.5
"""Seconds between two looks at the connections of a server that is being left: each looks at every descriptor."""


class Stopping:
    """Stops a server, once."""

    def __init__(
        self,
        server: grpc.Server,
        transport: Transport,
        pools: Pools,
        settings: Settings,
        port: Callable[[], int],
        *,
        can_tell: bool,
    ) -> None:
        """Take what is to be stopped.

        Args:
            server: The server.
            transport: The transport, which serves ModelInfer.
            pools: The pools, which serve the other methods.
            settings: Settings of how long clients may take.
            port: The port on which the server listens.
            can_tell: Whether clients can be told: not over TLS.
        """
        self._server = server
        self._transport = transport
        self._pools = pools
        self._settings = settings
        self._port = port
        self._can_tell = can_tell

    def leave(self, told_to_stop: threading.Event) -> None:
        """Stop listening, and answer until every client has gone.

        Clients go when they are told to, or where they cannot be told (TLS), when their connection comes of age.

        Args:
            told_to_stop: The event that ends the wait.
        """
        stop_listening(self._port())
        self._say_goodbye()
        longest = 1.1 * self._settings.connection_age  # gRPC adds up to a tenth, so that not all connect at once
        deadline = now() + longest
        while count_connections(self._port()) and now() < deadline:
            if told_to_stop.wait(_LOOK_SECONDS):
                return

    def stop(self, grace: float, *, is_started: bool) -> list[str]:
        """Accept no new requests, and let those in progress end within `grace` seconds.

        Those that have not are cut off by gRPC's core some seconds later, with CANCELLED. A process that ends before
        closes their connections, so that they get UNAVAILABLE.

        Args:
            grace: Seconds.
            is_started: Whether the server has begun to answer.

        Returns:
            What has not ended within the grace and two seconds, in words.
        """
        deadline = now() + grace
        left = []
        with contextlib.ExitStack() as stack:
            if grace and is_started and count_connections(self._port()):
                stop_listening(self._port(), is_shared=self._settings.share_port, longest=grace)
                stack.enter_context(self._told_clients())
            self._transport.stop_accepting()
            self._end_streams()
            stopped = self._server.stop(max(0.0, deadline - now()) + _CUT_SECONDS)
        deadline = max(deadline, now()) + _END_SECONDS
        if not stopped.wait(min(_FAREWELL_SECONDS, deadline - _END_SECONDS / 2 - now())):
            self._end_streams()
        if not stopped.wait(deadline - _END_SECONDS / 2 - now()):
            left.append("calls")
        return left + self._transport.end(deadline - _END_SECONDS / 4)

    @contextlib.contextmanager
    def _told_clients(self) -> Iterator[None]:
        """Tell clients that the server is going, and do what is in the block when no call of them is under way to it.

        gRPC's core ends calls that arrive when it has been stopped, with CANCELLED.
        """
        if self._can_tell:
            is_told = self._say_goodbye()
            self._end_streams()
            self._wait_for_quiet(_QUIET_SECONDS, self._settings.grace if is_told else _UNTOLD_SECONDS)
            yield
        else:
            # A client that waits for answers makes no call before the core has told it to make it elsewhere.
            with self._answers_held():
                self._wait_for_quiet(_HELD_SECONDS / 5, _HELD_SECONDS)
                yield

    def _end_streams(self) -> None:
        self._transport.end_streams(ShuttingDown("the server is shutting down: go on with a new stream"))

    def _say_goodbye(self) -> bool:
        """Tell clients to make their calls elsewhere, where there is no TLS; whether all have been told."""
        if not self._can_tell:
            return False
        with self._answers_held():
            time.sleep(_WRITTEN_SECONDS)
            return say_goodbye(self._port()) == count_connections(self._port())

    @contextlib.contextmanager
    def _answers_held(self) -> Iterator[None]:
        self._pools.hold()
        self._transport.hold()
        try:
            yield
        finally:
            self._transport.release()
            self._pools.release()

    def _wait_for_quiet(self, seconds: float, longest: float) -> None:
        """Wait until no call has arrived for so many seconds, or for so many in all."""
        deadline = now() + longest
        before, quiet_looks = self._arrived(), 0
        while quiet_looks * _WRITTEN_SECONDS < seconds and now() < deadline:
            time.sleep(_WRITTEN_SECONDS)
            arrived = self._arrived()
            quiet_looks = quiet_looks + 1 if arrived == before else 0
            before = arrived

    def _arrived(self) -> int:
        """How many calls have arrived so far."""
        return self._pools.control.taken + self._transport.taken
