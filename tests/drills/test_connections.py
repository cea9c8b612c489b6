"""Connections that send no requests, but frames of HTTP/2."""

import socket
import struct
import time

HOSTILE_SECONDS = 1.0

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PING, SETTINGS = 6, 4


def frame(kind, payload=b""):
    """A frame of the connection as bytes: size, type, flags and stream before its payload."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, 0]) + struct.pack(">I", 0) + payload


def test_pings_whose_answers_are_not_read(server, bystander):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(PREFACE + frame(SETTINGS))
        time.sleep(0.2)
        connection.sendall(frame(PING, b"12345678") * 50_000)
        time.sleep(1)
    time.sleep(3)  # a bystander that waits has told nothing yet
    assert len(bystander.waits) > 10
    assert max(bystander.waits) < HOSTILE_SECONDS
