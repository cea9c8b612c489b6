"""The Unix socket that only the server's own HTTP gateway can open, and whose calls it believes to come from others.

A call on it is a request of one of many clients, each with its own connection to the gateway. The metadata say which
one; shares, budgets and the ids of sequences go by it. On every other socket the same metadata mean nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rnnserve.protos.protocol_words import CERTIFICATE, PEER

__all__ = [
    "believed_peer",
    "is_of_http",
    "is_private",
    "of_http",
    "said_of_peer",
    "shown_certificate",
]

_PEM = b"x509_pem_cert"
"""Property of gRPC's auth context: the certificate that the other end has shown, in PEM."""

_PRIVATE = "unix:"
"""gRPC's name for the other end of any connection over a Unix socket."""

_OF_HTTP = "http:"
"""Precedes the address of a client of the gateway. gRPC names no connection so."""


def believed_peer(connection: str, metadata: Iterable[Any]) -> str:
    """Name the connection of a call: the gateway's client, if it came over the private socket, else gRPC's name."""
    if is_private(connection):
        for entry in metadata:
            if entry[0] == PEER:
                return of_http(entry[1])
    return connection


def shown_certificate(connection: str, metadata: Iterable[Any], auth_context: Callable[[], Mapping[Any, Any]]) -> str:
    """Return the certificate shown to gRPC or to the gateway, in PEM or in DER and base64; empty for none."""
    if is_private(connection):
        return next((entry[1] for entry in metadata if entry[0] == CERTIFICATE), "")
    found = auth_context()
    shown = found.get(_PEM) or found.get(_PEM.decode())
    return shown[0].decode("ascii", "replace") if shown else ""


def said_of_peer(metadata: Sequence[Any]) -> Sequence[Any]:
    """Return a call's metadata if they say whose it is, else nothing. A gateway says it last."""
    return metadata if metadata and metadata[-1][0] == PEER else ()


def of_http(peer: str) -> str:
    """Name the connection of a client of the gateway."""
    return f"{_OF_HTTP}{peer}"


def is_of_http(peer: str) -> bool:
    """Whether a connection, as `believed_peer` names it, is one of a client of the gateway."""
    return peer.startswith(_OF_HTTP)


def is_private(connection: str) -> bool:
    """Whether a connection, as gRPC names it, is one over a Unix socket."""
    return connection.startswith(_PRIVATE)
