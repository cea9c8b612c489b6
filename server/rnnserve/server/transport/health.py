"""grpc.health.v1: whether the server as a whole and its inference service serve.

grpcio's own servicer keeps an entry for each name that was ever watched: 400 names of 1 MB took 415 MB. And it holds a
lock while it sends, for which the thread that serves all calls waits when a watch is cancelled: a few of them stopped
the server for good. Here a name that is not known is refused, and no lock is held while a watch is told anything.
"""

import threading
from collections.abc import Iterator

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from rnnserve.server.errors import InvalidRequest, NotFound, quoted

__all__ = ["HEALTH_SERVICE", "HealthService"]

HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_Response = health_pb2.HealthCheckResponse

_LOOK_SECONDS = 5.0
"""Seconds after which a watch looks whether its call has ended, should nobody have told it."""


class HealthService:
    """The states of the services that are known: all of them serve, or none does."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """Start with none serving.

        Args:
            names: Of the services; the empty name stands for the server.
        """
        self._names = names
        self._serves = False
        self._is_draining = self._is_shut_down = False
        self._changed = threading.Condition()

    def set_serving(self, serves: bool) -> None:
        """Set the state, and tell it to those who watch."""
        with self._changed:
            self._serves = serves and not self._is_draining
            self._changed.notify_all()

    def drain(self) -> None:
        """Say for good that nothing serves, since the server is going to stop."""
        with self._changed:
            self._is_draining, self._serves = True, False
            self._changed.notify_all()

    def shut_down(self) -> None:
        """Say for good that nothing serves, since the server is stopping; watches end after they were told."""
        with self._changed:
            self._is_shut_down, self._is_draining, self._serves = True, True, False
            self._changed.notify_all()

    def check(self, payload: bytes, _: grpc.ServicerContext) -> bytes:
        """Answer Check.

        Raises:
            InvalidRequest: If the bytes are no request.
            NotFound: If the service is not known.
        """
        self._check_name(payload)
        return _response(self._serves)

    def watch(self, payload: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answer Watch: with the state now, and whenever it changes, until the call ends.

        Raises:
            InvalidRequest: If the bytes are no request.
            NotFound: If the service is not known.
        """
        self._check_name(payload)
        if not context.add_callback(self._wake):
            return
        told: bool | None = None
        while context.is_active():
            with self._changed:
                if self._serves == told and not self._is_shut_down:
                    self._changed.wait(_LOOK_SECONDS)
                serves, is_last = self._serves, self._is_shut_down
            if serves != told:
                yield _response(serves)
                told = serves
            if is_last:
                return

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _check_name(self, payload: bytes) -> None:
        try:
            request = health_pb2.HealthCheckRequest.FromString(payload)
        except DecodeError:
            raise InvalidRequest("not a grpc.health.v1.HealthCheckRequest") from None
        if request.service not in self._names:
            known = ", ".join(f'"{name}"' for name in self._names)
            raise NotFound(f"no service is named {quoted(request.service)}; there are {known}")


def _response(serves: bool) -> bytes:
    return _Response(status=_Response.SERVING if serves else _Response.NOT_SERVING).SerializeToString()
