"""A gRPC server on one port, and how requests come to it: on the lane, or on grpcio's own threads.

Both ways call the same service. The lane takes ModelInfer where it can run; everything else, and ModelInfer where the
lane cannot run or is not wanted, is served the public way: one thread for each request that waits.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.scheduler import Schedulers
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.connections.flood_guard import (
    FloodGuard,
    LaneProgress,
    address_of,
    arrived_by_connection,
    bound_window,
)
from rnnserve.server.connections.header_limit import HeaderLimit, HostileConnections
from rnnserve.server.connections.memory_guard import Activity, MemoryGuard
from rnnserve.server.errors import QueueFull, ShuttingDown, StartError, TooManyCalls
from rnnserve.server.grpcio_private.accepting import Accepting
from rnnserve.server.grpcio_private.missing_parts import missing_parts
from rnnserve.server.grpcio_private.serving_thread import ServingThread
from rnnserve.server.lane.completion_queue import Lane
from rnnserve.server.lane.dispatcher import Dispatcher
from rnnserve.server.process.address_space import address_space_left, bytes_for_requests, stack_bytes
from rnnserve.server.protocol.service import Service
from rnnserve.server.settings import Settings
from rnnserve.server.sockets.goaway import say_goodbye
from rnnserve.server.sockets.listening import count_connections, end_connection, stop_listening
from rnnserve.server.sockets.ports import probe_port
from rnnserve.server.transport.arriving import Arriving
from rnnserve.server.transport.core_options import core_options
from rnnserve.server.transport.health import HEALTH_SERVICE, HealthService
from rnnserve.server.transport.public_calls import PublicCalls, conversing, unary, watching
from rnnserve.server.transport.reflection import REFLECTION_SERVICES, ReflectionService
from rnnserve.server.transport.stream_pool import StreamPool
from rnnserve.server.transport.thread_pool import CallPool
from rnnserve.server.transport.tls import server_credentials

__all__ = ["GrpcTransport"]

_log = logging.getLogger(__name__)

_SERVICE = "inference.GRPCInferenceService"

_INFERENCE_THREADS = MAX_REQUESTS
"""As many ModelInfer requests can be in one batch on the public way, since each waits on a thread of its own."""

_CONTROL_CALLS = 1024
"""Calls of all other methods that may be in hand. They answer at once."""

_CONTROL_THREADS, _CONTROL_OF_CONNECTION, _CONTROL_AT_WORK = 64, 32, 16
"""Threads for these; how many of them calls of one connection may have, so that calls whose messages do not arrive keep
no one from being answered; and how many answer at once: each takes Python's lock from the lane."""

_CONTROL_HOPELESS = 0.25
"""Seconds after which a call without a message, which is small, is ended where others wait for its thread."""

_LOADING_THREADS, _LOADING_CALLS = 4, 64
"""The same for methods that load models: changes are made one after another, so that most threads wait."""

_WATCHES = 256
"""Watches of the server's health: each keeps a thread, since grpcio has a send wait for its client."""

_STREAM_THREADS = 256
"""Streams on the public way: each keeps a thread. The lane needs none."""

_REFLECTIONS = 16
"""Streams of server reflection: each keeps a thread."""

_STREAM_HOPELESS = 1.0
"""Seconds after which one of these whose next message has not arrived is ended, where others were refused."""


_UNCOUNTED = 144 << 20
"""Bytes of memory, beside those that are counted, that the largest requests take while they are read and run."""


_END_SECONDS, _CUT_SECONDS = 1.0, 3.0
"""Seconds beyond the grace in which what has been answered may end, and after which gRPC's core cuts off the rest."""

_WRITTEN_SECONDS = 2e-3
"""Seconds after which answers that were not held back have been written."""

_QUIET_SECONDS = 0.1
"""Seconds without a call after which none is under way from a client that was told: a round trip, of any but the most
distant clients."""

_UNTOLD_SECONDS = 1.0
"""The same in all, where clients have not been told since they do not read their answers: they make calls on."""

_HELD_SECONDS = 0.1
"""Seconds for which answers are held back, at most, where clients cannot be told: over TLS."""

_STREAMS_A_CALL = 8
"""Streams that are ended for each call that might be, where memory is short: which of them hold it is not known."""

_LARGE_AT_ONCE = 4
"""Of the messages that may be arriving on one connection, as many may be large. After the first, the lane receives two
at once; a connection that begins with more large ones than these may be slowed down for a second."""

_LOOK_SECONDS = 0.5
"""Seconds between two looks at the connections of a server that is being left: each looks at every descriptor."""


class GrpcTransport:
    """A gRPC server on one port.

    Attributes:
        port: Where it listens, or will.
    """

    def __init__(self, service: Service, schedulers: Schedulers, settings: Settings) -> None:
        """Prepare, and listen, unless the port is shared; `start` begins to answer.

        A server of its own listens from now on: it can say that it is live, and its port is known, while it loads. One
        that shares the port does not, since the kernel would give it a part of the connections: it listens at `start`.

        Args:
            service: What answers.
            schedulers: The models' threads, which run what does not run on the lane.
            settings: Where and how to listen.

        Raises:
            StartError: If the port or the certificate cannot be had, or the lane was asked for and cannot run.
        """
        self._settings = settings
        self._repository = service.repository
        self._control = CallPool(
            _CONTROL_THREADS,
            _CONTROL_CALLS,
            "control",
            TooManyCalls("methods other than ModelInfer", _CONTROL_CALLS),
            of_connection=_CONTROL_OF_CONNECTION,
            at_work=_CONTROL_AT_WORK,
            hopeless_seconds=_CONTROL_HOPELESS,
        )
        self._watches = CallPool(
            _WATCHES,
            _WATCHES,
            "watch",
            TooManyCalls("Watch", _WATCHES),
            hopeless_seconds=_STREAM_HOPELESS,
        )
        self._reflections = CallPool(
            _REFLECTIONS,
            _REFLECTIONS,
            "reflection",
            TooManyCalls("ServerReflectionInfo", _REFLECTIONS),
            hopeless_seconds=_STREAM_HOPELESS,
        )
        self._loading = CallPool(
            _LOADING_THREADS, _LOADING_CALLS, "loading", TooManyCalls("RepositoryModelLoad and Unload", _LOADING_CALLS)
        )
        self._inference = CallPool(
            _INFERENCE_THREADS,
            settings.max_queue + MAX_REQUESTS,
            "inference",
            QueueFull("this server", settings.max_queue),
            max_wait=settings.max_wait,
        )
        self._streams = StreamPool(min(_STREAM_THREADS, settings.max_streams))
        self._hostile = HostileConnections(self._end_connection)
        self._server = grpc.server(self._control, options=core_options(settings))
        self._budget = ByteBudget(settings.max_held_bytes)
        self._health = HealthService(("", _SERVICE), service.repository)
        calls = PublicCalls(service, schedulers, self._budget)
        self._add_service(_SERVICE, calls.methods(self._control, self._loading, self._inference, self._streams))
        self._add_service(
            HEALTH_SERVICE,
            {
                "Check": unary(self._health.check, self._control),
                "List": unary(self._health.list, self._control),
                "Watch": watching(self._health.watch, self._watches),
            },
        )
        reflection = conversing(ReflectionService().answer, self._reflections)
        for name in REFLECTION_SERVICES:
            self._add_service(name, {"ServerReflectionInfo": reflection})
        self._is_started = False
        self._dispatcher: Dispatcher | None = None
        self._lane = self._new_lane(service, schedulers, settings)
        self._accepting: Accepting | None = None
        if self._lane is None:
            pool = self._inference
            self._accepting = Accepting(self._server, lambda: pool.in_hand, lambda: pool.taken, pool.capacity)
        self._credentials = server_credentials(settings)
        self.port = settings.grpc_port if settings.share_port else self._bind()
        self._flood_guard = FloodGuard(
            self._progress,
            lambda: arrived_by_connection(self.port),
            self._expected,
            lambda connection, size: bound_window(self.port, connection, size),
        )
        self._inference.late.arriving = self._streams.late.arriving = Arriving(lambda: arrived_by_connection(self.port))
        self._memory_guard = MemoryGuard(
            settings.max_held_bytes + _UNCOUNTED, self._activity, self._end_late, self._note_short
        )

    def start(self) -> None:
        """Begin to answer.

        Raises:
            StartError: If the port is shared and cannot be had.
        """
        if self._settings.share_port:
            self.port = self._bind()
        self._server.start()
        self._is_started = True
        if self._lane is not None:
            self._lane.start()
            self._flood_guard.start()
        if self._accepting is not None:
            self._accepting.start()

    def set_ready(self, ready: bool) -> None:
        """Set what grpc.health.v1 answers, for the server as a whole and for the inference service.

        To be called when models have been loaded.
        """
        self._health.set_serving(ready)
        self._memory_guard.take_models_into_account()
        stacks = _INFERENCE_THREADS * stack_bytes() if self._lane is None else 0
        self._budget.limit, said = bytes_for_requests(
            self._settings.max_held_bytes, _UNCOUNTED + stacks, address_space_left() if ready else None
        )
        if said is not None:
            _log.warning("%s", said)

    def turns(self) -> dict[str, Callable[[], float]]:
        """By the name of each thread that takes calls: a number that is another after each of its turns."""
        turns: dict[str, Callable[[], float]] = {"grpcio's serving thread": ServingThread(self._server).turn}
        lane = self._lane
        if lane is not None:
            turns["the lane's thread"] = lambda: lane.turns
        return turns

    def hung(self) -> list[str]:
        """What takes too long: names the parsing of a large request, or nothing."""
        is_hung = self._dispatcher is not None and self._dispatcher.is_hung()
        return ["the parsing of a large request"] if is_hung else []

    def leave(self, told_to_stop: threading.Event) -> None:
        """Stop listening, and answer until every client has gone.

        Clients go when they are told to, or where they cannot be told (TLS), when their connection comes of age.

        Args:
            told_to_stop: Ends the wait.
        """
        stop_listening(self.port)
        self._say_goodbye()
        longest = 1.1 * self._settings.connection_age  # gRPC adds up to a tenth, so that not all connect at once
        deadline = time.monotonic() + longest
        while count_connections(self.port) and time.monotonic() < deadline:
            if told_to_stop.wait(_LOOK_SECONDS):
                return

    def drain(self) -> None:
        """Tell health checks, from now on, that nothing serves. Everything is answered as before."""
        self._health.drain()

    def stop(self, grace: float) -> list[str]:
        """Accept no new requests, and let those in progress end within `grace` seconds.

        Those that have not are cut off by gRPC's core some seconds later, with CANCELLED. A process that ends before
        closes their connections, so that they hear UNAVAILABLE.

        Returns:
            What has not ended within the grace and two seconds, in words.
        """
        self._health.shut_down()
        deadline = time.monotonic() + grace
        left = []
        with contextlib.ExitStack() as stack:
            if grace and self._is_started and count_connections(self.port):
                stop_listening(self.port, is_shared=self._settings.share_port, longest=grace)
                stack.enter_context(self._told_clients())
            if self._lane is not None:
                self._lane.stop_accepting()
            if self._accepting is not None:
                self._accepting.stop()
            self._end_streams()
            stopped = self._server.stop(max(0.0, deadline - time.monotonic()) + _CUT_SECONDS)
        deadline = max(deadline, time.monotonic()) + _END_SECONDS
        if not stopped.wait(deadline - _END_SECONDS / 2 - time.monotonic()):
            left.append("calls")
        if self._lane is not None and self._lane.is_running():  # not where the server has never started
            self._lane.join(max(0.0, deadline - _END_SECONDS / 4 - time.monotonic()))
            if self._lane.is_running():
                left.append("requests on the lane")
        if self._dispatcher is not None and not self._dispatcher.close(_END_SECONDS):
            left.append("large requests")
        self._memory_guard.close()
        self._flood_guard.close()
        pools = (self._control, self._loading, self._watches, self._reflections, self._inference, self._streams)
        for pool in (*pools, self._hostile.thread):
            pool.shutdown(wait=False)
        return left

    @contextlib.contextmanager
    def _told_clients(self) -> Iterator[None]:
        """Tell clients that the server is going, and do what is in the block when no call of them is under way to it.

        gRPC's core ends calls that arrive when it has been stopped, with CANCELLED.
        """
        if self._credentials is None:
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
        """End the streams on the lane when what is in hand of them has been answered."""
        if self._lane is not None:
            self._lane.end_streams(ShuttingDown("the server is shutting down: go on with a new stream"))

    def _say_goodbye(self) -> bool:
        """Tell clients to make their calls elsewhere, where there is no TLS; whether all have been told."""
        if self._credentials is not None:
            return False
        with self._answers_held():
            time.sleep(_WRITTEN_SECONDS)
            return say_goodbye(self.port) == count_connections(self.port)

    @contextlib.contextmanager
    def _answers_held(self) -> Iterator[None]:
        pools = (self._control, self._loading, self._inference, self._streams)
        for pool in pools:
            pool.hold()
        if self._lane is not None:
            self._lane.hold()
        try:
            yield
        finally:
            if self._lane is not None:
                self._lane.release()
            for pool in pools:
                pool.release()

    def _wait_for_quiet(self, seconds: float, longest: float) -> None:
        """Wait until no call has arrived for so many seconds, or for so many in all."""
        started = quiet_since = time.monotonic()
        before = self._arrived()
        while (at := time.monotonic()) < min(quiet_since + seconds, started + longest):
            arrived = self._arrived()
            if arrived != before:
                before, quiet_since = arrived, at
            time.sleep(_WRITTEN_SECONDS)

    def _arrived(self) -> int:
        """How many calls have arrived so far."""
        return self._control.taken + self._inference.taken + (0 if self._lane is None else self._lane.taken)

    def _end_connection(self, peer: str) -> None:
        """End a connection. Among thousands it takes some milliseconds to find."""
        end_connection(self.port, peer)

    def _progress(self) -> LaneProgress | None:
        """How far the lane's thread has come: it makes turns, or hands calls on."""
        lane = self._lane
        seconds = None if lane is None else lane.seconds_of_poll()
        return None if lane is None or seconds is None else LaneProgress(lane.turns + lane.taken, seconds)

    def _expected(self) -> dict[str, int]:
        """Bytes of messages that may be arriving on the lane, by the address of the connection's peer."""
        receiving = {} if self._lane is None else self._lane.late.receiving()
        size = self._settings.max_message_bytes * 5 // 4
        return {address_of(peer): size * min(count, _LARGE_AT_ONCE) for peer, count in receiving.items()}

    def _activity(self) -> Activity:
        lane = self._lane
        return Activity(
            has_requests=bool(self._budget.held) or (lane is not None and lane.late.is_receiving),
            has_streams=self._inference.has_silent or self._streams.has_silent
            if lane is None
            else lane.late.has_streams,
            is_loading=self._repository.is_loading(),
        )

    def _end_late(self, count: int) -> int:
        if self._lane is None:
            return self._inference.late.end_silent(count) or self._streams.late.end_silent(_STREAMS_A_CALL * count)
        return self._lane.late.end_silent(count)

    def _note_short(self, is_short: bool) -> None:
        self._inference.is_short_of_memory = is_short

    def _add_service(self, name: str, handlers: "dict[str, grpc.RpcMethodHandler[Any, Any]]") -> None:
        service = HeaderLimit(grpc.method_handlers_generic_handler(name, handlers), self._hostile)
        self._server.add_generic_rpc_handlers((service,))

    def _new_lane(self, service: Service, schedulers: Schedulers, settings: Settings) -> Lane | None:
        if settings.transport == "public":
            return None
        lacking = missing_parts(self._server)
        if lacking is None:
            self._dispatcher = Dispatcher(service, schedulers)
            return Lane(
                self._server,
                f"/{_SERVICE}/ModelInfer",
                self._dispatcher,
                self._budget,
                self._hostile.end_and_wait,
                stream_method=f"/{_SERVICE}/ModelStreamInfer",
                max_streams=settings.max_streams,
            )
        if settings.transport == "lane":
            raise StartError(f"transport lane: cannot run here: {lacking}; serve with --transport public or auto")
        _log.warning("ModelInfer takes the public transport, which is slower: the lane cannot run here: %s", lacking)
        return None

    def _bind(self) -> int:
        """Bind the port and listen on it: gRPC does both at once, and accepts what has connected from `start` on."""
        settings = self._settings
        host, port = settings.host, settings.grpc_port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if not settings.share_port:
            probe_port(host, port)  # gRPC would log its own description of a port in use, at length
        try:
            if self._credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, self._credentials)
        except RuntimeError as error:
            raise StartError(
                f"cannot listen on {address}: is the port in use, or the host not this machine's?"
            ) from error
