"""Heavy traffic of ordinary clients: no limit interrupts it, no client blocks others, and memory stays bounded."""

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import queue
import time
from collections import Counter
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from campaigns.drills.drilled import MODEL, SMALL, Infer, drilled, keep_in_flight, points
from campaigns.drills.http2 import END_HEADERS, HEADERS, Http2Connection, call_headers, frame, grpc_message
from kit.inference_requests import request

STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
PATIENCE = 60.0

MOST_BYTES, AFTERWARDS_BYTES = 700 << 20, 200 << 20
"""Resident memory meanwhile, and some seconds later."""

HOSTILE_SECONDS = 1.0
"""A bystander's longest wait while something large is sent."""

MAX_WAIT_SECONDS = 10.0
"""The server's `--max-wait`: calls are served in the order in which they came, and none waits longer."""


def payload(batch: int, steps: int, outputs: tuple[str, ...] = ("logits",), **more: Any) -> bytes:
    return request(MODEL, {"input": points(batch, steps)}, outputs, **more).SerializeToString()


LARGE, BATCH, MIDDLING = payload(450, 4096), payload(64, 4), payload(8, 8)


def in_processes(count: int) -> concurrent.futures.ProcessPoolExecutor:
    """Start processes for clients, so that the test and the server share no interpreter."""
    return concurrent.futures.ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))


def test_heavy_legitimate_traffic_is_never_disconnected(server, bystander):
    """The largest requests on several connections, and many small ones on another: all are answered."""
    clients = [Infer(server.port) for _ in range(4)]
    futures = [client.call.future(LARGE, timeout=120) for client in clients[:3] for _ in range(4)]
    futures += [clients[3].call.future(MIDDLING, timeout=120) for _ in range(1024)]
    assert {(future.code().name, future.details()) for future in futures} == {("OK", "")}


@pytest.mark.parametrize("count", [1024, 3000])
def test_calls_beyond_the_streams_of_a_connection_are_answered(server, count):
    """gRPC's core refused calls made in the place of calls that had just been answered, with a bare REFUSED_STREAM.

    It counted streams that had just ended. More calls than streams wait at the client.
    """
    said = keep_in_flight(server.port, BATCH, count, 3.0)
    others = {status.partition(":")[0] for status in said.keys() - {"OK: "}}
    assert others <= ({"RESOURCE_EXHAUSTED"} if count > 1024 else set()), said
    assert said["OK: "] > min(count, 1024)


def test_client_is_served_beside_connections_with_the_maximum_of_calls(server, bystander):
    """Each connection has at most a quarter of the queue. The fixture checks that the bystander met no failure."""
    with in_processes(3) as pool:
        said = list(pool.map(keep_in_flight, [server.port] * 3, [BATCH] * 3, [1000] * 3, [4.0] * 3))
    assert all(one["OK: "] > 0 for one in said)
    assert {status.partition(":")[0] for one in said for status in one} <= {"OK", "RESOURCE_EXHAUSTED"}
    seen = bystander.report()
    assert seen.requests > 10
    assert seen.longest < MAX_WAIT_SECONDS


def hold_streams(port: int, count: int) -> Http2Connection:
    """Open a connection with a number of streams, each of which has had an answer and stays open."""
    connection, ends = Http2Connection("127.0.0.1", port), time.monotonic() + PATIENCE
    for number in range(1, 2 * count, 2):
        connection.send(frame(HEADERS, END_HEADERS, number, call_headers(STREAM)), ends)
        connection.send_data(number, grpc_message(SMALL), ends)
    while [one for one in connection.read(time.monotonic() + 0.5) if one.kind == HEADERS]:
        pass  # the answers
    return connection


def test_connections_with_all_their_streams_do_not_block_other_clients(server):
    with contextlib.ExitStack() as held:
        for _ in range(7):
            held.enter_context(hold_streams(server.port, 1000))
        for _ in range(3):
            infer: Any = Infer(server.port).channel.stream_stream(STREAM)
            messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
            answers = infer(iter(messages.get, None), timeout=PATIENCE)
            for _ in range(3):
                messages.put(SMALL)
                assert next(answers)
            messages.put(None)
            assert list(answers) == []


def test_small_requests_are_answered_beside_large_requests_of_many_clients(server):
    """Excess requests are refused with a message, and sent again."""
    kinds = [(server.port, LARGE, 4, 4.0, 0.2)] * 12 + [(server.port, MIDDLING, 1024, 4.0, 0.2)]
    with concurrent.futures.ThreadPoolExecutor(len(kinds)) as pool:
        said = sum(pool.map(keep_in_flight, *zip(*kinds, strict=True)), start=Counter[str]())
    assert said["OK: "] > 1024
    others = said.keys() - {"OK: "}
    assert all(one.startswith("RESOURCE_EXHAUSTED: ") and "slow down" in one for one in others), others
    assert server.memory.peak < MOST_BYTES
    assert server.memory.settles_below(AFTERWARDS_BYTES)


def test_largest_allowed_request_is_answered(server, bystander):
    """As raw bytes and as numbers. It takes seconds, and the bystander doesn't notice."""
    said = [Infer(server.port).said(payload(16384, 120, raw=raw)) for raw in (True, False)]
    assert said == ["OK: ", "OK: "]
    assert bystander.report().longest < HOSTILE_SECONDS
    assert server.memory.peak < MOST_BYTES
    assert server.memory.settles_below(AFTERWARDS_BYTES)


def test_health_check_is_answered_under_any_load(repository):
    """Health and readiness answer while 512 calls are always in flight."""
    with drilled(repository, "--max-queue", "512") as server, in_processes(4) as pool:
        loads = [pool.submit(keep_in_flight, server.port, payload(16, 64, outputs=()), 128, 6.0) for _ in range(4)]
        time.sleep(2)  # until it has started
        ends = time.monotonic() + 3
        waits = health_waits(Infer(server.port).channel, ends)
        assert sum(load.result()["OK: "] for load in loads) > 100
    assert len(waits) > 10
    assert sorted(waits)[int(len(waits) * 0.9)] < HOSTILE_SECONDS


def health_waits(channel: grpc.Channel, ends: float) -> list[float]:
    waits = []
    health: Any = health_pb2_grpc.HealthStub(channel)
    for _ in itertools.takewhile(lambda _: time.monotonic() < ends, itertools.count()):
        started = time.perf_counter()
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=20).status == 1
        waits.append(time.perf_counter() - started)
        time.sleep(5e-3)
    return waits
