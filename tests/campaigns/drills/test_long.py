"""Drills that take minutes: a soak, and thousands of connections. `make drills-long` runs them."""

import concurrent.futures
import resource
import socket
import struct
import time

import numpy as np
import pytest

from campaigns.drills.drilled import Infer
from kit.inference_requests import request

pytestmark = pytest.mark.long

CONNECTIONS = 10_000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, ACK = 4, 6, 1
HOSTILE_SECONDS = 1.0

MODELS = ["direction_simple", "direction_stacked", "direction_bidirectional"]
SOAKED_GROWTH = 16 << 20
"""Bytes by which resident memory may grow from a sixth of a soak to its end."""


def frame(kind, payload=b"", flags=0):
    """A frame of the connection as bytes: size, type, flags and stream before its payload."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", 0) + payload


def questions(seed):
    """Requests of every model, with 1 to 64 steps, and the rubbish that validation refuses."""
    numbers = np.random.default_rng(seed)
    while True:
        name = MODELS[numbers.integers(3)]
        walks = numbers.normal(size=(int(numbers.integers(1, 9)), int(numbers.integers(1, 65)), 2)).astype(np.float32)
        payload = request(name, {"input": walks}, ["logits"] if numbers.random() < 0.7 else []).SerializeToString()
        yield payload[:-1] if numbers.random() < 0.05 else payload


def ask_until(ends, port, seed):
    """Ask one after another. Every ninth is asked twice, and must get the same bytes. Gives how many were answered."""
    client, answered = Infer(port), 0
    for number, payload in enumerate(questions(seed)):
        if time.monotonic() > ends:
            return answered
        said = client.said(payload)
        assert said.startswith(("OK", "INVALID_ARGUMENT")), said
        if said == "OK: " and number % 9 == 0:
            assert client.call(payload) == client.call(payload)
        answered += said == "OK: "
    return answered


def test_a_soak(server, bystander, request):
    minutes = request.config.getoption("--soak-minutes")
    ends = time.monotonic() + 60 * minutes
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask_until, ends, server.port, seed) for seed in range(6)]
        time.sleep(10 * minutes)
        before = server.resident
        answered = sum(one.result() for one in asking)
    assert answered > 100 * minutes
    assert server.resident - before < SOAKED_GROWTH
    assert server.log.stat().st_size < 100_000


def test_ten_thousand_connections(server, bystander):
    """Idle ones, of which each answers what the server asks, and shows at the end that it is still there."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most[1] < CONNECTIONS + 1000:
        pytest.skip(f"a process may open {most[1]} files: ulimit -Hn {CONNECTIONS + 1000}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most[1], most[1]))
    connections = []
    try:
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
            connection.sendall(PREFACE + frame(SETTINGS) + frame(SETTINGS, flags=ACK))
            connections.append(connection)
        time.sleep(5)
        for connection in connections:
            connection.sendall(frame(PING, b"12345678"))
        for connection in connections:
            assert _receives(connection, frame(PING, b"12345678", flags=ACK))
        assert bystander.report().longest < HOSTILE_SECONDS
    finally:
        for connection in connections:
            connection.close()
    assert server.settles_below(300 << 20, seconds=60)


def _receives(connection, wanted):
    received = b""
    while wanted not in received:
        more = connection.recv(4096)
        if not more:
            return False
        received += more
    return True
