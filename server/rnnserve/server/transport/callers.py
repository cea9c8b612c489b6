"""Who calls, on the public transport."""

import grpc

from rnnserve.server.connections.private_socket import believed_peer, is_of_http

__all__ = ["PublicCaller"]


class PublicCaller:
    """What sends the requests of a call. Its name is asked for once: grpcio lets go of Python's lock meanwhile."""

    __slots__ = ("_believes", "_context", "_name")

    def __init__(self, context: grpc.ServicerContext, *, believes: bool) -> None:
        """Ask nothing yet.

        Args:
            context: The call's.
            believes: Whether there is an HTTP front, whose calls say whose they are.
        """
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

    def identity(self) -> str:
        """Give the names in the client's certificate; empty where it has shown none."""
        return b" ".join(self._context.peer_identities() or ()).decode(errors="replace")
