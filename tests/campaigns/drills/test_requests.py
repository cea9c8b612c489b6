"""Requests that are compressed, huge or many. `wire/attacks` has the requests that no client would send."""

import concurrent.futures
import itertools
import multiprocessing
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from campaigns.drills.drilled import MODEL, Infer, drilled, keep_in_flight, points
from kit.inference_requests import request
from rnnserve.protos import inference_pb2 as pb

MOST_BYTES, AFTERWARDS_BYTES = 700 << 20, 200 << 20
"""Resident memory during every drill, and within seconds after it."""

SHORT = "RESOURCE_EXHAUSTED: the server's memory is short"

HOSTILE_SECONDS = 1.0
"""A bystander's longest wait while something hostile is sent."""

LARGE = request(MODEL, {"input": np.zeros((16384, 110, 2), np.float32)}, ["logits"]).SerializeToString()  # 14 MB


def test_large_compressed_requests_at_once(repository):
    """More than may be held: each is answered, or told to slow down. First come, first served: no bystander."""
    with drilled(repository) as server:
        clients = [Infer(server.port) for _ in range(6)]
        with concurrent.futures.ThreadPoolExecutor(60) as pool:
            said = list(pool.map(lambda n: clients[n % 6].said(LARGE, gzip=True), range(60)))
        refused = {one for one in said if one != "OK: "}
        assert len(refused) < 60
        assert all(one.startswith(("RESOURCE_EXHAUSTED: requests and unread", SHORT)) for one in refused), refused
        assert server.peak < MOST_BYTES, server.peak
        assert server.settles_below(AFTERWARDS_BYTES)


def test_the_largest_request_there_is(server, bystander):
    """Raw, and as numbers: it takes seconds, and the bystander does not notice."""
    raw = request(MODEL, {"input": points(16384, 120)}, ["logits"]).SerializeToString()
    typed = request(MODEL, {"input": points(16384, 120)}, ["logits"], raw=False).SerializeToString()
    said = [Infer(server.port).said(payload) for payload in (raw, typed)]
    assert said == ["OK: ", "OK: "]
    assert bystander.report().longest < HOSTILE_SECONDS
    assert server.peak < MOST_BYTES
    assert server.settles_below(AFTERWARDS_BYTES)


STEPS_OF_CLIENT = 30
"""Of 14 MB each: together they have more bytes than the server may have in memory."""


def _large_steps(identity: int) -> Iterator[bytes]:
    """The requests of a sequence, of 14 MB each."""
    sent = request(MODEL, {"input": np.zeros((16384, 110, 2), np.float32)}, ["logits"])
    sent.parameters["sequence_id"].int64_param = identity
    for number in range(STEPS_OF_CLIENT):
        sent.parameters["sequence_start"].bool_param = number == 0
        sent.parameters["sequence_end"].bool_param = number == STEPS_OF_CLIENT - 1
        yield sent.SerializeToString()


def _step_through(port: int, on_stream: bool, identity: int) -> set[str]:
    client = Infer(port)
    if not on_stream:
        return {client.said(payload) for payload in _large_steps(identity)}
    may_send, said = threading.Semaphore(1), set()
    payloads = (payload for payload in _large_steps(identity) if may_send.acquire())
    stream: Any = client.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    for answer in stream(payloads):
        said.add(pb.ModelStreamInferResponse.FromString(answer).error_message or "OK: ")
        may_send.release()
    return said


@pytest.mark.parametrize("on_stream", [False, True], ids=["calls", "streams"])
def test_large_steps_of_sequences_each_waited_for(server, bystander, on_stream):
    """Ordinary requests, on two connections. Each was in a cycle with its step: 2,096 MB, which stayed."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        said = list(pool.map(lambda identity: _step_through(server.port, on_stream, identity), (1, 2)))
    assert said == [{"OK: "}] * 2
    assert bystander.report().longest < HOSTILE_SECONDS
    assert server.peak < MOST_BYTES
    assert server.settles_below(AFTERWARDS_BYTES)


def test_a_response_beyond_the_limit(server, bystander):
    said = Infer(server.port).said(request(MODEL, {"input": points(16384, 120)}).SerializeToString())
    assert said.startswith("INVALID_ARGUMENT: the response would have ")
    assert "name the outputs that you need" in said
    assert bystander.report().longest < HOSTILE_SECONDS


def test_overload_is_answered_with_words(repository):
    """Three thousand calls at once: never a bare CANCELLED, which gRPC's core gives where its own queue is full."""
    payload = request(MODEL, {"input": points(64, 64)}).SerializeToString()
    with drilled(repository, "--max-queue", "300") as server:
        clients = [Infer(server.port) for _ in range(6)]
        futures = [clients[n % 6].call.future(payload, timeout=60) for n in range(3000)]
        said = {f"{future.code().name}: {future.details()}" for future in futures}
    assert "OK: " in said
    assert all(one == "OK: " or one.startswith("RESOURCE_EXHAUSTED: ") for one in said), said


def test_health_answers_under_any_load(repository):
    """While 512 calls are always in hand, health and readiness answer."""
    payload = request(MODEL, {"input": points(16, 64)}).SerializeToString()
    with drilled(repository, "--max-queue", "512") as server:
        # In other processes, so that only the server is shared with what asks for its health.
        with concurrent.futures.ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
            loads = [pool.submit(keep_in_flight, server.port, payload, 128, 6.0) for _ in range(4)]
            time.sleep(2)  # until it has started
            ends = time.monotonic() + 3
            with grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
                waits = _health_waits(channel, ends)
        assert sum(load.result()["OK"] for load in loads) > 100
    assert len(waits) > 10
    assert sorted(waits)[int(len(waits) * 0.9)] < HOSTILE_SECONDS


def _health_waits(channel: grpc.Channel, ends: float) -> list[float]:
    waits = []
    check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
    for _ in itertools.takewhile(lambda _: time.monotonic() < ends, itertools.count()):
        started = time.perf_counter()
        assert check(health_pb2.HealthCheckRequest(), timeout=20).status == 1
        waits.append(time.perf_counter() - started)
        time.sleep(5e-3)
    return waits
