"""A gRPC server on one port, and how requests come to it: on the lane, or on grpcio's own threads.

Both ways call the same service, and are a `Transport` to this server. The lane takes ModelInfer where it can run;
everything else, and ModelInfer where the lane cannot run or is not wanted, is served the public way: one thread for
each request that waits.
"""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from rnnserve.server.access.gate import open_gate
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.connections.byte_budget import RESPONSE_COPIES, ByteBudget
from rnnserve.server.connections.guard_thread import GuardThread
from rnnserve.server.connections.header_limit import HeaderLimit, HostileConnections
from rnnserve.server.connections.idle_connections import ANSWER_SECONDS, IdleConnections
from rnnserve.server.connections.memory_guard import Activity, MemoryGuard
from rnnserve.server.connections.private_socket import address_of_socket
from rnnserve.server.counting import places
from rnnserve.server.counting.table import count_in_process, used_table
from rnnserve.server.errors import StartError
from rnnserve.server.grpcio_private.lasting import make_serving_lasting
from rnnserve.server.grpcio_private.missing_parts import missing_parts
from rnnserve.server.grpcio_private.serving_thread import ServingThread
from rnnserve.server.lane.dispatcher import Dispatcher
from rnnserve.server.process.memory_limits import (
    UNCOUNTED_BYTES,
    address_space_left,
    bytes_for_requests,
    memory_left,
    stack_bytes,
)
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model
from rnnserve.server.settings import Settings
from rnnserve.server.sockets.listening import end_connection
from rnnserve.server.sockets.ports import probe_port
from rnnserve.server.transport.call_access import CallAccess, check_rows
from rnnserve.server.transport.core_options import core_options, message_bytes
from rnnserve.server.transport.health import HEALTH_SERVICE, HealthService
from rnnserve.server.transport.lane_transport import SERVICE, LaneTransport
from rnnserve.server.transport.pools import Pools
from rnnserve.server.transport.public_calls import PublicCalls, conversing, unary, watching
from rnnserve.server.transport.public_transport import PublicTransport
from rnnserve.server.transport.reflection import REFLECTION_SERVICES, ReflectionService
from rnnserve.server.transport.stopping import Stopping
from rnnserve.server.transport.tls import ServedTls
from rnnserve.server.transport.transport import Transport

__all__ = ["GrpcServer"]

_log = logging.getLogger(__name__)

_ARRIVAL_COPIES, _FEWEST = 4, 2
"""Where memory is short: how often a message may be there while it is received, read and refused; and how many
are received at once in any case, so that one that does not arrive does not keep the others waiting."""


class GrpcServer:
    """A gRPC server on one port.

    Attributes:
        port: Where it listens, or will.
    """

    def __init__(self, service: Service, schedulers: Schedulers, settings: Settings) -> None:
        """Prepare, and listen, unless the port is shared; `start` begins to answer.

        A server of its own listens from now on: it can say that it is live, and its port is known, while it loads. One
        that shares the port does not, since the kernel would give it a part of the connections: it listens at `start`.

        Args:
            service: The service, which answers.
            schedulers: The models' threads, which run what does not run on the lane.
            settings: Settings of where and how to listen.

        Raises:
            StartError: If the port or the certificate cannot be had, or the lane was asked for and cannot run.
        """
        self._settings = settings
        self._service = service
        self._repository = service.repository
        self._pools = pools = Pools.of(settings)
        self._hostile = HostileConnections(self._end_connection)
        self._gate = open_gate(
            settings, lambda holds: count_in_process(places.TOKENS_READ if holds else places.TOKENS_NOT_READ)
        )
        self._access = None if self._gate is None else CallAccess(self._gate)
        make_serving_lasting()
        self._server = grpc.server(pools.control, options=core_options(settings, is_narrow=_is_narrow(settings)))
        self._budget = ByteBudget(settings.max_held_bytes)
        self._queued_on_lane: Callable[[], Mapping[Model, int]] = dict
        self._health = HealthService(("", SERVICE), service.repository, gate=self._gate)
        calls = PublicCalls(service, schedulers, self._budget, self._gate)
        self._add_service(SERVICE, calls.methods(pools.control, pools.loading, pools.inference, pools.streams))
        self._add_service(
            HEALTH_SERVICE,
            {
                "Check": unary(self._health.check, pools.control),
                "List": unary(self._health.list, pools.control),
                "Watch": watching(self._health.watch, pools.watches),
            },
        )
        reflection = conversing(ReflectionService().answer, pools.reflections)
        for name in REFLECTION_SERVICES:
            self._add_service(name, {"ServerReflectionInfo": reflection})
        self._is_started = self._has_told_of_memory = False
        self._is_bounded = False  # little memory is left
        self._transport = self._new_transport(service, schedulers)
        self._tls = ServedTls.of(settings)
        self.port = settings.grpc_port if settings.share_port else self._bind()
        self._stopping = Stopping(
            self._server, self._transport, pools, settings, self._port, can_tell=self._tls is None
        )
        self._memory_guard = MemoryGuard(
            settings.max_held_bytes + UNCOUNTED_BYTES,
            self._activity,
            self._transport.end_late,
            self._transport.note_short,
            IdleConnections(
                self._port,
                self._connections_with_state,
                idle_seconds=settings.max_wait + ANSWER_SECONDS,
                can_tell=self._tls is None,
            ),
        )
        self._guards = GuardThread()
        self._guards.add(self._memory_guard.look)

    def start(self) -> None:
        """Begin to answer.

        Raises:
            StartError: If the port is shared and cannot be had.
        """
        if self._settings.share_port:
            self.port = self._bind()
        self._server.start()
        self._is_started = True
        self._transport.start()
        self._guards.add(self._transport.look)
        if self._tls is not None:
            self._tls.follow()
        if self._gate is not None:
            self._guards.add(self._look_at_tokens)

    def set_ready(self, ready: bool) -> None:
        """Set what grpc.health.v1 answers, for the server as a whole and for the inference service."""
        self._health.set_serving(ready)

    def note_new_models(self) -> None:
        """Give back what a load has left free, and hold requests to what the models leave of memory.

        To be called when other models serve than before; not oftener, since it costs requests some milliseconds.
        """
        self._memory_guard.take_models_into_account()
        self._fit_into_memory()

    def look_at_memory(self, *, is_due: bool) -> None:
        """Hold requests to what is left of memory now. To be called each second or so.

        Where it is little, each time, and what is free is given back; else only when that is due, and if nothing is in
        hand, whose bytes would count as taken.

        Args:
            is_due: Whether to look though there was enough.
        """
        if self._is_bounded:
            self.note_new_models()
        elif is_due and not any(self._activity()):
            self._fit_into_memory()

    def _fit_into_memory(self) -> None:
        """Hold requests to what limits leave of address space and memory, where that is little."""
        settings, stacks = self._settings, self._transport.threads * stack_bytes()
        self._budget.limit, said, room = settings.max_held_bytes, None, None
        for found, uncounted in (
            (address_space_left(), UNCOUNTED_BYTES + stacks),
            (memory_left(settings.sharers), UNCOUNTED_BYTES),
        ):
            if found is not None:
                most, told = bytes_for_requests(settings.max_held_bytes, uncounted, found)
                if told is not None and (said is None or most < self._budget.limit):
                    self._budget.limit, said, room = most, told, found
        self._is_bounded = room is not None
        if room is None:
            self._service.response_room = None
            self._memory_guard.most_bytes = settings.max_held_bytes + UNCOUNTED_BYTES
            self._transport.bound_receiving(None)
            return
        self._service.response_room = self._budget.limit // 2 // RESPONSE_COPIES  # of the half of one connection
        self._memory_guard.most_bytes = max(room.left // 2, 0)
        at_once = max(room.left // (_ARRIVAL_COPIES * message_bytes(settings)), _FEWEST)
        self._transport.bound_receiving(at_once)
        if not self._has_told_of_memory:  # it may be set ready again
            self._has_told_of_memory = True
            _log.warning("%s. At most %d messages of --max-message-bytes are received at once", said, at_once)

    def turns(self) -> dict[str, Callable[[], float]]:
        """By the name of each thread that takes calls: a number that is another after each of its turns."""
        return {"grpcio's serving thread": ServingThread(self._server).turn, **self._transport.turns_of_threads()}

    def hung(self) -> list[str]:
        """What takes too long: names the parsing of a large request, or nothing."""
        return self._transport.hung()

    def leave(self, told_to_stop: threading.Event) -> None:
        """Stop listening, and answer until every client has gone (`Stopping.leave`).

        Args:
            told_to_stop: The event that ends the wait.
        """
        self._stopping.leave(told_to_stop)

    def drain(self) -> None:
        """Tell health checks, from now on, that nothing serves. Everything is answered as before."""
        self._health.drain()

    def stop(self, grace: float) -> list[str]:
        """Accept no new requests, and let those in progress end within `grace` seconds (`Stopping.stop`).

        Returns:
            What has not ended within the grace and two seconds, in words.
        """
        self._health.shut_down()
        if self._tls is not None:
            self._tls.close()
        left = self._stopping.stop(grace, is_started=self._is_started)
        self._guards.close()
        self._pools.shutdown()
        self._hostile.thread.shutdown(wait=False)
        return left

    def _port(self) -> int:
        return self.port  # it is known at `start` only, where it is shared

    def _connections_with_state(self) -> set[str]:
        """Names of the connections whose end would cost their clients something: sequences, or what is in hand."""
        return {*self._service.sequences.connections(), *self._budget.connections()}

    def _end_connection(self, peer: str) -> None:
        """End a connection that harms. Among thousands it takes some milliseconds to find."""
        count_in_process(places.HOSTILE)
        end_connection(self.port, peer)

    @property
    def held_bytes(self) -> int:
        """Bytes that requests and responses in hand hold."""
        return self._budget.held

    @property
    def in_flight(self) -> int:
        """How many requests have arrived, and have not been answered."""
        return self._transport.in_flight

    def queued_on_lane(self) -> Mapping[Model, int]:
        """How many requests wait on the lane, by model."""
        return self._queued_on_lane()

    def _look_at_tokens(self, at: float) -> None:
        """Read the tokens again where their file has changed; end what they do not admit to any more."""
        gate, access = self._gate, self._access
        if gate is None or access is None or not gate.look(at):
            return
        access.end_revoked()
        self._transport.end_revoked()
        table = used_table()
        for name, grant in gate.grants():
            table.row(*places.row_of_token(name))[places.TOKEN_REQUESTS] = grant.requests

    def _activity(self) -> Activity:
        return Activity(
            has_requests=bool(self._budget.held) or self._transport.is_receiving,
            has_streams=self._transport.has_streams,
            is_loading=self._repository.is_loading(),
        )

    def _add_service(self, name: str, handlers: "dict[str, grpc.RpcMethodHandler[Any, Any]]") -> None:
        check_rows([f"/{name}/{method}" for method in handlers])
        if self._access is None:
            generic = grpc.method_handlers_generic_handler(name, handlers)
        else:
            generic = self._access.guarded(name, handlers)
        self._server.add_generic_rpc_handlers((HeaderLimit(generic, self._hostile),))

    def _new_transport(self, service: Service, schedulers: Schedulers) -> Transport:
        """The lane where it is wanted and can run, or else grpcio's own threads."""
        settings = self._settings
        lacking = None if settings.transport == "public" else missing_parts(self._server)
        if lacking is not None:
            if settings.transport == "lane":
                raise StartError(f"transport lane: cannot run here: {lacking}; serve with --transport public or auto")
            _log.warning(
                "ModelInfer takes the public transport, which is slower: the lane cannot run here: %s", lacking
            )
        if settings.transport == "public" or lacking is not None:
            return PublicTransport(self._server, self._pools, self._port, settings)
        dispatcher = Dispatcher(service, schedulers)
        self._queued_on_lane = dispatcher.queued
        return LaneTransport(
            self._server,
            dispatcher,
            self._budget,
            self._hostile.end_and_wait,
            self._port,
            settings,
            self._gate,
        )

    def _bind_private_socket(self) -> None:
        """Listen for the HTTP front, too, if there is one: without TLS, since no other user can open the socket."""
        if self._settings.private_sockets is not None:
            self._server.add_insecure_port(address_of_socket(self._settings.private_sockets, str(os.getpid())))

    def _bind(self) -> int:
        """Bind the port and listen on it: gRPC does both at once, and accepts what has connected from `start` on."""
        settings = self._settings
        host, port = settings.host, settings.grpc_port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if not settings.share_port:
            probe_port(host, port)  # gRPC would log its own description of a port in use, at length
        try:
            self._bind_private_socket()
            if self._tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, self._tls.credentials)
        except RuntimeError as error:
            raise StartError(
                f"cannot listen on {address}: is the port in use, or the host not this machine's?"
            ) from error


def _is_narrow(settings: Settings) -> bool:
    """Whether there is little address space: less than twice what requests may take, before models are loaded."""
    room = address_space_left()
    return room is not None and room.left < 2 * (settings.max_held_bytes + UNCOUNTED_BYTES)
