"""Drills that take minutes: a soak, and thousands of connections. `make drills-long` runs them."""

import concurrent.futures
import contextlib
import socket
import time

import numpy as np
import pytest

from campaigns.drills.attacks.http import may_open
from campaigns.drills.drilled import Infer
from campaigns.drills.http2 import ACK, PING, PREFACE, SETTINGS, frame
from kit.inference_requests import request

pytestmark = pytest.mark.long

CONNECTIONS = 10_000
HOSTILE_SECONDS = 1.0

MODELS = ["direction_simple", "direction_stacked", "direction_bidirectional"]
SOAKED_GROWTH = 16 << 20
"""Bytes by which resident memory may grow from a sixth of a soak to its end."""


def questions(seed):
    """Yield requests for every model with 1 to 64 steps, and invalid requests."""
    numbers = np.random.default_rng(seed)
    while True:
        name = MODELS[numbers.integers(3)]
        walks = numbers.normal(size=(int(numbers.integers(1, 9)), int(numbers.integers(1, 65)), 2)).astype(np.float32)
        payload = request(name, {"input": walks}, ["logits"] if numbers.random() < 0.7 else []).SerializeToString()
        yield payload[:-1] if numbers.random() < 0.05 else payload


def ask_until(ends, port, seed):
    """Send requests one after another, every ninth twice to compare the bytes. Returns the number of answers."""
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


def test_soak_keeps_memory_and_answers_stable(server, bystander, request):
    minutes = request.config.getoption("--soak-minutes")
    ends = time.monotonic() + 60 * minutes
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask_until, ends, server.port, seed) for seed in range(6)]
        time.sleep(10 * minutes)
        before = server.memory.now
        answered = sum(one.result() for one in asking)
    assert answered > 100 * minutes
    assert server.memory.now - before < SOAKED_GROWTH
    assert len(server.server.log) < 100_000


def test_ten_thousand_connections_are_served(server, bystander):
    """Each idle connection still works at the end."""
    if not may_open(CONNECTIONS):
        pytest.skip("this process may not open as many connections (ulimit -n)")
    ping, pong = (frame(PING, flags, payload=b"12345678") for flags in (0, ACK))
    with contextlib.ExitStack() as held:
        connections = []
        for _ in range(CONNECTIONS):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=20))
            connection.sendall(PREFACE + frame(SETTINGS) + frame(SETTINGS, ACK))
            connections.append(connection)
        time.sleep(5)
        for connection in connections:
            connection.sendall(ping)
        for connection in connections:
            received = b""
            while pong not in received:
                received += (more := connection.recv(4096))
                assert more, "the server has closed the connection"
        assert bystander.report().longest < HOSTILE_SECONDS
    assert server.memory.settles_below(300 << 20, seconds=60)
