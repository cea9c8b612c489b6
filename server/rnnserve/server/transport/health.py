"""grpc.health.v1: whether the server as a whole and its inference service serve.

grpcio's own servicer keeps an entry for each name that was ever watched: 400 names of 1 MB took 415 MB. Here a name
that is not known is refused.
"""

from collections.abc import Callable

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2

from rnnserve.server.errors import InvalidRequest, NotFound, quoted

__all__ = ["HealthService"]

_Response = health_pb2.HealthCheckResponse


class HealthService:
    """The states of the services that are known."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """Start with all of them not serving.

        Args:
            names: Of the services; the empty name stands for the server.
        """
        self._names = names
        self._states = health.HealthServicer()
        self.set_serving(False)

    def set_serving(self, serves: bool) -> None:
        """Set the state of all services, and tell it to those who watch."""
        for name in self._names:
            self._states.set(name, _Response.SERVING if serves else _Response.NOT_SERVING)

    def shut_down(self) -> None:
        """Say for good that nothing serves: the server is stopping."""
        self._states.enter_graceful_shutdown()

    def check(self, payload: bytes, context: grpc.ServicerContext) -> bytes:
        """Answer Check.

        Raises:
            InvalidRequest: If the bytes are no request.
            NotFound: If the service is not known.
        """
        response: bytes = self._states.Check(self._request(payload), context).SerializeToString()
        return response

    def watch(self, payload: bytes, context: grpc.ServicerContext, send: Callable[[object], None]) -> None:
        """Answer Watch: send the state now, and whenever it changes. Returns at once.

        Raises:
            InvalidRequest: If the bytes are no request.
            NotFound: If the service is not known.
        """
        self._states.Watch(self._request(payload), context, send)

    def _request(self, payload: bytes) -> health_pb2.HealthCheckRequest:
        try:
            request = health_pb2.HealthCheckRequest.FromString(payload)
        except DecodeError:
            raise InvalidRequest("not a grpc.health.v1.HealthCheckRequest") from None
        if request.service not in self._names:
            known = ", ".join(f'"{name}"' for name in self._names)
            raise NotFound(f"no service is named {quoted(request.service)}; there are {known}")
        return request
