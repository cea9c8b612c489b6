"""The Unix socket of the HTTP gateway, which the server trusts to name the real clients of its calls.

Calls on this socket come from many clients, each with its own connection to the gateway. The metadata
name the client. The server uses that name for shares, budgets and sequence ids. On all other sockets, it ignores these
metadata.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rnnserve.protos.protocol_words import CERTIFICATE, PEER

__all__ = [
    "believed_peer",
    "is_of_http",
    "is_private",
    "of_http",
    "shown_certificate",
]

_PEM = b"x509_pem_cert"
"""Property of gRPC's auth context: the peer's certificate in PEM."""

_PRIVATE = "unix:"
"""gRPC's prefix for the peer of any connection over a Unix socket."""

_OF_HTTP = "http:"
"""Prefix for the address of a gateway client. gRPC doesn't use this prefix."""


def believed_peer(connection: str, metadata: Iterable[Any]) -> str:
    """Return the connection of a call: the gateway's client on the private socket, otherwise gRPC's peer."""
    if is_private(connection):
        for entry in metadata:
            if entry[0] == PEER:
                return of_http(entry[1])
    return connection


def shown_certificate(connection: str, metadata: Iterable[Any], auth_context: Callable[[], Mapping[Any, Any]]) -> str:
    """Return the certificate that gRPC or the gateway received (PEM or base64 DER), or an empty string."""
    if is_private(connection):
        return next((entry[1] for entry in metadata if entry[0] == CERTIFICATE), "")
    found = auth_context()
    shown = found.get(_PEM) or found.get(_PEM.decode())
    return shown[0].decode("ascii", "replace") if shown else ""


def of_http(peer: str) -> str:
    """Return the connection name of a gateway client."""
    return f"{_OF_HTTP}{peer}"


def is_of_http(peer: str) -> bool:
    """Return whether a connection name from `believed_peer` belongs to a gateway client."""
    return peer.startswith(_OF_HTTP)


def is_private(connection: str) -> bool:
    """Return whether gRPC's connection name is for a Unix socket."""
    return connection.startswith(_PRIVATE)
