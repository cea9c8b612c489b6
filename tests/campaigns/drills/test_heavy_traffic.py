"""Heavy traffic of ordinary clients: what is too much is refused with words, and memory stays what is promised."""

import threading
import time
from collections import Counter
from typing import Any

import grpc
import pytest

from campaigns.drills.drilled import MODEL, Infer, drilled, points
from kit.inference_requests import request

MOST_BYTES, AFTERWARDS_BYTES = 700 << 20, 200 << 20
"""Resident memory meanwhile, and some seconds later."""

LARGE = request(MODEL, {"input": points(450, 4096)}, ["logits"]).SerializeToString()  # 14.7 MB
REFUSED = request(MODEL, {"inputs": points(450, 4096)}, ["logits"]).SerializeToString()  # as large, and soon answered
SMALL = request(MODEL, {"input": points(8, 8)}, ["logits"]).SerializeToString()

CLIENTS, SMALL_ONES = 12, 1024
LEFT_OPEN, LEFT_OPEN_BYTES = 60, 250 << 20
"""Connections that stay open, and resident memory beside them: some 2 MB for each at the most."""

SECONDS, PATIENCE = 4.0, 120.0
PAUSE = 0.2
"""Seconds until a client sends again what was refused."""


class Load:
    """Calls that are kept in flight for some seconds, each made again when it was answered."""

    def __init__(self) -> None:
        self.said: Counter[tuple[str, str]] = Counter()
        self._ends = time.monotonic() + SECONDS
        self._in_flight = 0
        self._changed = threading.Condition()

    def keep(self, client: Infer, payload: bytes) -> None:
        """Make a call, and another one for as long as it is to go on."""
        with self._changed:
            self._in_flight += 1
        self._send(client, payload)

    def _take(self, call: Any, client: Infer, payload: bytes) -> None:
        said = call.code().name, call.details() or ""
        with self._changed:
            self.said[said] += 1
        if time.monotonic() >= self._ends:
            self._end()
        elif said[0] == "OK":
            self._send(client, payload)
        else:
            threading.Timer(PAUSE, self._send, (client, payload)).start()

    def _send(self, client: Infer, payload: bytes) -> None:
        future = client.call.future(payload, timeout=PATIENCE)
        future.add_done_callback(lambda call: self._take(call, client, payload))

    def _end(self) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify()

    def wait(self) -> None:
        """Wait until the last has been answered."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._in_flight, SECONDS + PATIENCE)


@pytest.mark.parametrize("large_each", [1, 4])
def test_large_requests_of_many_clients_beside_a_thousand_small_ones(repository, large_each):
    with drilled(repository) as server:
        load, small = Load(), Infer(server.port)
        clients = [Infer(server.port) for _ in range(CLIENTS)]
        for client in clients:
            for _ in range(large_each):
                load.keep(client, LARGE)
        for _ in range(SMALL_ONES):
            load.keep(small, SMALL)
        load.wait()
        assert load.said["OK", ""] > SMALL_ONES
        others = {said for said in load.said if said != ("OK", "")}
        assert all(status == "RESOURCE_EXHAUSTED" and "slow down" in words for status, words in others), others
        assert server.peak < MOST_BYTES, server.peak
        assert server.settles_below(AFTERWARDS_BYTES)


def test_connections_that_have_sent_large_requests_and_stay(repository):
    """gRPC's core keeps what a connection has filled at once as room to read into."""
    with drilled(repository) as server:
        clients = [Infer(server.port) for _ in range(LEFT_OPEN)]
        for client in clients:
            for _ in range(2):  # the core takes what it has measured for the next reading
                assert client.call.future(REFUSED, timeout=PATIENCE).code() == grpc.StatusCode.INVALID_ARGUMENT
        assert server.settles_below(LEFT_OPEN_BYTES)
