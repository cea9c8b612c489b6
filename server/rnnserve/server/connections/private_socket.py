"""The socket of a server that only its own HTTP gateway can open, and whose calls it believes to come from others.

A call on it is a request of one of many clients, each on its own connection to the gateway. Its metadata say which:
fairness, budgets, and the ids of sequences go by that, as they go by the connection elsewhere. On every other socket
the same metadata mean nothing.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnserve.protos.protocol_words import CERTIFICATE, PEER

__all__ = [
    "address_of_socket",
    "believed_peer",
    "is_of_http",
    "is_private",
    "of_http",
    "said_of_peer",
    "shown_certificate",
]

_PEM = b"x509_pem_cert"
"""Property of gRPC's context of authentication: the certificate that the other end has shown, in PEM."""

_PRIVATE = "unix:"
"""How gRPC names the other end of any connection over a Unix socket, since that has no name."""

_OF_HTTP = "http:"
"""Precedes the address of a client of the gateway. No connection of gRPC is meant by it."""


def address_of_socket(folder: Path, name: str) -> str:
    """Give the address, as gRPC writes it, of a socket in a folder."""
    return f"unix:{folder / name}.sock"


def believed_peer(connection: str, metadata: Iterable[Any]) -> str:
    """Name the connection that a call is of: the client's of the gateway, where it came over the private socket.

    Args:
        connection: Name that gRPC has for it.
        metadata: Metadata of the call, each entry a key and a value.
    """
    if is_private(connection):
        for entry in metadata:
            if entry[0] == PEER:
                return of_http(entry[1])
    return connection


def shown_certificate(connection: str, metadata: Iterable[Any], auth_context: Callable[[], Mapping[Any, Any]]) -> str:
    """Give the certificate that a client has shown: to gRPC, or to the gateway whose call came over the private socket.

    Args:
        connection: Name that gRPC has for the connection.
        metadata: Metadata of the call, each entry a key and a value.
        auth_context: Function that gives gRPC's context of authentication: values, by names as bytes or text.

    Returns:
        The certificate, in PEM or in DER and base64; empty where none was shown.
    """
    if is_private(connection):
        return next((entry[1] for entry in metadata if entry[0] == CERTIFICATE), "")
    found = auth_context()
    shown = found.get(_PEM) or found.get(_PEM.decode())
    return shown[0].decode("ascii", "replace") if shown else ""


def said_of_peer(metadata: Sequence[Any]) -> Sequence[Any]:
    """Give the metadata of a call where they say whose it is, and nothing of any other call.

    A gateway says it last, and gRPC keeps the order: to look at all of them costs each call a quarter of a microsecond.
    """
    return metadata if metadata and metadata[-1][0] == PEER else ()


def of_http(peer: str) -> str:
    """Name the connection of a client of the gateway, of which the gateway says that it comes from there."""
    return f"{_OF_HTTP}{peer}"


def is_of_http(peer: str) -> bool:
    """Whether a connection, as `believed_peer` names it, is one of a client of the gateway."""
    return peer.startswith(_OF_HTTP)


def is_private(connection: str) -> bool:
    """Whether a connection, as gRPC names it, is one over a Unix socket."""
    return connection.startswith(_PRIVATE)
