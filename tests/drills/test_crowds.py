"""Crowds of ordinary calls: what is promised of calls in flight holds, and who has much waits, not who has little."""

import itertools
import multiprocessing
import threading
import time
from collections import Counter

import pytest

from support.drilled import MODEL, Infer, points
from support.inference_requests import request

BATCH = request(MODEL, {"input": points(64, 4)}, ["logits"]).SerializeToString()
PATIENCE = 60.0

TURN_SECONDS = 2.0
"""A polite client's longest wait: without turns it is that of 5,000 calls, 4 to 8 s."""


def keep_in_flight(port: int, count: int, seconds: float) -> Counter[str]:
    """Keep as many calls in flight on one connection, each reopened by the answer; give the statuses, by their name."""
    client, said, are_done = Infer(port), Counter[str](), threading.Event()
    ends, left = time.monotonic() + seconds, itertools.count(1)

    def ask():
        client.call.future(BATCH, timeout=PATIENCE).add_done_callback(take)

    def take(call):
        said[call.code().name] += 1
        if time.monotonic() < ends:
            ask()
        elif next(left) == count:
            are_done.set()

    for _ in range(count):
        ask()
    assert are_done.wait(PATIENCE)
    return said


@pytest.mark.parametrize("count", [1000, 1024])
def test_as_many_calls_as_one_connection_may_have_are_all_answered(server, count):
    """gRPC's core refused those made in the place of calls that had just been answered, with a bare REFUSED_STREAM."""
    said = keep_in_flight(server.port, count, 3.0)
    assert set(said) == {"OK"}, said
    assert said["OK"] > count


def test_a_polite_client_beside_connections_with_all_the_calls_they_may_have(server, bystander):
    """It is neither refused nor does it wait for what they have: its failures are asserted by the fixture."""
    with multiprocessing.get_context("spawn").Pool(5) as crowd:
        said = crowd.starmap(keep_in_flight, [(server.port, 1000, 4.0)] * 5)
    assert all(one["OK"] > 0 for one in said)
    assert set().union(*said) <= {"OK", "RESOURCE_EXHAUSTED"}
    assert len(bystander.waits) > 10
    assert max(bystander.waits) < TURN_SECONDS
