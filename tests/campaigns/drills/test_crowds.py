"""Crowds of ordinary calls: what is promised of calls in flight holds, and who has much keeps no one out."""

import contextlib
import multiprocessing
import queue
import time
from typing import Any

import pytest

from campaigns.drills.drilled import MODEL, SMALL, Infer, keep_in_flight, points
from campaigns.drills.wire.http2 import END_HEADERS, HEADERS, Http2Connection, call_headers, frame, grpc_message
from kit.inference_requests import request

BATCH = request(MODEL, {"input": points(64, 4)}, ["logits"]).SerializeToString()
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
PATIENCE = 60.0

MAX_WAIT_SECONDS = 10.0
"""The server's `--max-wait`: calls are served in the order in which they came, and none waits longer."""


@pytest.mark.parametrize("count", [1000, 1024])
def test_as_many_calls_as_one_connection_may_have_are_all_answered(server, count):
    """gRPC's core refused those made in the place of calls that had just been answered, with a bare REFUSED_STREAM."""
    said = keep_in_flight(server.port, BATCH, count, 3.0)
    assert set(said) == {"OK"}, said
    assert said["OK"] > count


def test_a_polite_client_beside_connections_with_all_the_calls_they_may_have(server, bystander):
    """It is not refused, since each has a quarter of the queue: its failures are asserted by the fixture."""
    with multiprocessing.get_context("spawn").Pool(3) as crowd:
        said = crowd.starmap(keep_in_flight, [(server.port, BATCH, 1000, 4.0)] * 3)
    assert all(one["OK"] > 0 for one in said)
    assert set().union(*said) <= {"OK", "RESOURCE_EXHAUSTED"}
    seen = bystander.report()
    assert seen.requests > 10
    assert seen.longest < MAX_WAIT_SECONDS


def hold_streams(port: int, count: int) -> Http2Connection:
    """A connection with as many streams as told, each with a request, which stay open, or as may be."""
    connection, ends = Http2Connection("127.0.0.1", port), time.monotonic() + PATIENCE
    for number in range(1, 2 * count, 2):
        connection.send(frame(HEADERS, END_HEADERS, number, call_headers(STREAM)), ends)
        connection.send_data(number, grpc_message(SMALL), ends)
    while [one for one in connection.read(time.monotonic() + 0.5) if one.kind == HEADERS]:
        pass  # the answers
    return connection


def test_connections_with_all_their_streams_keep_no_one_out(server):
    with contextlib.ExitStack() as held:
        for _ in range(7):
            held.enter_context(hold_streams(server.port, 1000))
        for _ in range(3):
            polite = Infer(server.port).channel
            infer: Any = polite.stream_stream(STREAM)
            messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            answers = infer(iter(messages.get, None), timeout=PATIENCE)
            for _ in range(3):
                messages.put(SMALL)
                assert next(answers)
            messages.put(None)
            assert list(answers) == []
