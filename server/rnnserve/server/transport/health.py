"""grpc.health.v1: whether the server as a whole, its inference service and each model serve.

Each model is a service with the model's name. SERVING means that a version of the model has been verified on this
machine.

grpcio's own servicer isn't used for two reasons. It keeps an entry for each name ever watched: 400 names of 1
MB took 415 MB. It also holds a lock while it sends, and the thread that serves all calls waits for that lock when a
watch is cancelled, so a few cancelled watches blocked the server forever. Here, names have a bounded size, and no lock
is held while a response is sent.
"""

import threading
from collections.abc import Callable, Iterator

import grpc
from google.protobuf.message import DecodeError

from rnnserve.protos import health_pb2
from rnnserve.protos.access_table import Need
from rnnserve.server.access.gate import Grant
from rnnserve.server.errors import InvalidRequest, NotFound, quoted
from rnnserve.server.repository.repository import Repository

__all__ = ["HEALTH_SERVICE", "HealthService"]

HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

_Response = health_pb2.HealthCheckResponse

_GrantOf = Callable[[], Grant | None]
"""Returns the caller's grant, or None if the server requires no credentials."""

_MAX_NAME = 1000
"""Characters of a watched name without a service. Beyond it: NOT_FOUND."""


class HealthService:
    """The states of the server, its inference service, and each model. Messages are bytes."""

    def __init__(self, names: tuple[str, ...], repository: Repository, *, look_seconds: float = 1.0) -> None:
        """Start with no service serving. `names` share one state. Watches check every `look_seconds`."""
        self._names = names
        self._look_seconds = look_seconds
        self._repository = repository
        self._serves = self._is_draining = self._is_shut_down = False
        self._changed = threading.Condition()

    def set_serving(self, serves: bool) -> None:
        """Set the state of the server and notify watches."""
        with self._changed:
            self._serves = serves and not self._is_draining
            self._changed.notify_all()

    def drain(self, *, is_last: bool = False) -> None:
        """Report NOT_SERVING from now on. With `is_last`, watches then end."""
        with self._changed:
            self._is_draining, self._serves = True, False
            self._is_shut_down |= is_last
            self._changed.notify_all()

    def check(self, payload: bytes, grant_of: _GrantOf) -> bytes:
        """Handle Check."""
        name = _read_name(payload)
        self._check_access(name, grant_of)
        status = self._status(name)
        if status == _Response.SERVICE_UNKNOWN:
            raise self._unknown(name)
        return _Response(status=status).SerializeToString()

    def list(self, payload: bytes, grant_of: _GrantOf) -> bytes:
        """Handle List."""
        try:
            health_pb2.HealthListRequest.FromString(payload)
        except DecodeError:
            raise InvalidRequest("the request is not a grpc.health.v1.HealthListRequest") from None
        response = health_pb2.HealthListResponse()
        grant = grant_of()
        for name in (*self._names, *[name for name in self._models() if grant is None or grant.is_for(name)]):
            response.statuses[name].status = self._status(name)
        return response.SerializeToString()

    def watch(self, payload: bytes, context: grpc.ServicerContext, admit: Callable[[], _GrantOf]) -> Iterator[bytes]:
        """Handle Watch until the call ends, even for a missing model that may appear. `admit` rechecks the caller."""
        name = _read_name(payload)
        self._check_access(name, admit())
        if len(name) > _MAX_NAME:
            raise self._unknown(name)
        if not context.add_callback(self._wake):
            return
        told = None
        while context.is_active():
            self._check_access(name, admit())
            with self._changed:
                if self._status(name) == told and not self._is_shut_down:
                    self._changed.wait(self._look_seconds)
                status, is_last = self._status(name), self._is_shut_down
            if status != told:
                yield _Response(status=status).SerializeToString()
                told = status
            if is_last:
                return

    def _check_access(self, name: str, grant_of: _GrantOf) -> None:
        """Check that the caller may query a service. Services of models need the same access as inference."""
        if name not in self._names and (grant := grant_of()) is not None:
            grant.check(Need.INFER)
            grant.check_model(name)

    def _status(self, name: str) -> "health_pb2.HealthCheckResponse.ServingStatus.ValueType":
        if name in self._names:
            serves = self._serves
        elif name in self._models():
            serves = self._repository.is_served(name) and not self._is_draining
        else:
            return _Response.SERVICE_UNKNOWN
        return _Response.SERVING if serves else _Response.NOT_SERVING

    def _models(self) -> Iterator[str]:
        return (name for name, _ in self._repository.statuses())

    def _unknown(self, name: str) -> NotFound:
        known = ", ".join(f'"{known}"' for known in (*self._names, *self._models()))
        return NotFound(f"no service is named {quoted(name)}; there are {known}")

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _read_name(payload: bytes) -> str:
    try:
        return health_pb2.HealthCheckRequest.FromString(payload).service
    except DecodeError:
        raise InvalidRequest("the request is not a grpc.health.v1.HealthCheckRequest") from None
