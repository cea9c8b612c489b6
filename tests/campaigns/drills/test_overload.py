"""More requests than a server can answer: what is admitted is answered in time, the rest is refused at once."""

import threading
import time
from collections import Counter
from typing import Any

import pytest

from campaigns.drills.drilled import drilled, points
from campaigns.drills.open_loop import Outcome, answers_per_second, open_loop, quantile
from kit.inference_requests import request
from kit.served import new_channel
from kit.waiting import until

MODEL = "direction_bidirectional"
HEAVY = request(MODEL, {"input": points(1000, 64)}, ["logits"]).SerializeToString()
LIGHT = request(MODEL, {"input": points(1, 4)}, ["logits"]).SerializeToString()
MIDDLING = request(MODEL, {"input": points(100, 64)}, ["logits"]).SerializeToString()

MAX_WAIT = 1.0
OVERLOAD = 5
"""Times as many heavy requests as are answered without a queue."""

ANSWERED_SECONDS = 4 * MAX_WAIT
"""What waits is counted by costs that were measured on an idle machine. Here, a client has half of it."""

REFUSED_SECONDS = 0.25

DEADLINE = 8e-3
STORM_RATE = 1450.0


def note(request, what: str, outcomes: list[Outcome]) -> None:
    """Print how many there are of each status, and how long they took."""
    for status in sorted({one.status for one in outcomes}):
        seconds = [one.seconds for one in outcomes if one.status == status]
        p50, p99 = (1e3 * quantile(seconds, share) for share in (0.5, 0.99))
        print(f"{request.node.name}: {what}: {len(seconds):,} {status}, p50 {p50:.1f} ms, p99 {p99:.1f} ms")


def test_overload_by_heavy_requests_beside_light_ones(repository, request):
    with drilled(repository, "--max-wait", f"{MAX_WAIT}") as server:
        capacity = answers_per_second(server.port, HEAVY, 1.0)
        outcomes = open_loop(server.port, [HEAVY, LIGHT], 2 * OVERLOAD * capacity, 3.0)
    for kind, what in enumerate(("heavy", "light")):
        note(request, what, [one for one in outcomes if one.kind == kind])
    answered = [one.seconds for one in outcomes if one.status == "OK"]
    refused = [one for one in outcomes if one.status != "OK"]
    assert max(answered) < ANSWERED_SECONDS
    assert {one.status for one in refused} == {"RESOURCE_EXHAUSTED"}
    assert all("slow down" in one.text for one in refused)
    assert quantile([one.seconds for one in refused], 0.99) < REFUSED_SECONDS


def test_a_storm_of_deadlines(repository, request):
    """Of more requests than can be answered in time, some are: others are dropped before they are run."""
    with drilled(repository) as server:
        capacity = answers_per_second(server.port, MIDDLING, 1.0)
        outcomes = open_loop(server.port, [MIDDLING], max(STORM_RATE, 2 * capacity), 3.0, DEADLINE)
        again = answers_per_second(server.port, MIDDLING, 1.0)
    note(request, f"of {capacity:.0f} a second that can be answered", outcomes)
    assert {one.status for one in outcomes} <= {"OK", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    useful = sum(one.status == "OK" for one in outcomes) / 3.0
    assert useful > 0.2 * capacity
    assert again > 0.2 * capacity


@pytest.mark.long
def test_a_long_overload(repository, request):
    """The same for a minute: neither memory nor what waits grows."""
    with drilled(repository, "--max-wait", f"{MAX_WAIT}") as server:
        capacity = answers_per_second(server.port, HEAVY, 1.0)
        outcomes = open_loop(server.port, [HEAVY, LIGHT], 2 * OVERLOAD * capacity, 60.0)
        assert server.peak < 700 << 20
        assert server.settles_below(200 << 20)
    note(request, "heavy and light", outcomes)
    assert max(one.seconds for one in outcomes if one.status == "OK") < ANSWERED_SECONDS


def test_a_client_with_more_calls_than_it_may_have_streams_hears_nothing_of_it(server):
    """Its calls wait at the client, and each is answered. gRPC's core refused two of three with REFUSED_STREAM: it
    counted streams that had just ended, where the event engine's threads begin streams."""
    said: Counter[str] = Counter()
    room = threading.Semaphore(3000)

    def take(call):
        said[call.code().name] += 1
        room.release()

    with new_channel(server.port) as channel:
        infer: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        ends, sent = time.monotonic() + 3, 0
        while time.monotonic() < ends:
            assert room.acquire(timeout=20)
            infer.future(LIGHT, timeout=20).add_done_callback(take)
            sent += 1
        until(lambda: sum(said.values()) == sent)
    assert said["OK"] > 1000
    assert set(said) <= {"OK", "RESOURCE_EXHAUSTED"}
