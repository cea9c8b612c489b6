"""Who calls, on the public transport."""

import grpc

from rnnserve.server.access.gate import Grant
from rnnserve.server.connections.private_socket import believed_peer, is_of_http
from rnnserve.server.lane.varying_fields import read_id
from rnnserve.server.observing.origins import Origin, origin_of

__all__ = ["PublicCaller"]


class PublicCaller:
    """What sends the requests of a call. Its name is asked for once: grpcio lets go of Python's lock meanwhile.

    Attributes:
        beginning: Of the request that is in hand, as many bytes as its id is found among.
        grant: What its token admits to; None where none was asked for.
    """

    __slots__ = ("_believes", "_context", "_method", "_name", "beginning", "grant")

    def __init__(
        self,
        context: grpc.ServicerContext,
        method: str,
        *,
        believes: bool = True,
        beginning: bytes = b"",
        grant: Grant | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            context: Context of the call.
            method: Name of the call's method.
            believes: Whether there is an HTTP front, whose calls say whose they are.
            beginning: Value of the attribute of the same name.
            grant: Value of the attribute of the same name.
        """
        self.beginning = beginning
        self.grant = grant
        self._method = method
        self._context = context
        self._believes = believes
        self._name = ""

    def peer(self) -> str:
        """Name its connection."""
        if not self._name:
            self._name = believed_peer(self._context.peer(), self._context.invocation_metadata())
        return self._name

    def is_of_http(self) -> bool:
        """Whether it is a client of the HTTP front."""
        return self._believes and is_of_http(self.peer())

    def origin(self) -> Origin:
        """Say where the request comes from that is in hand."""
        return origin_of(self.peer(), self._context.invocation_metadata(), read_id(self.beginning), self._method)

    def identity(self) -> str:
        """Give the names in the client's certificate; empty where it has shown none."""
        return b" ".join(self._context.peer_identities() or ()).decode(errors="replace")
