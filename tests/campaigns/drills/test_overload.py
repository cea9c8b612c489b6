"""Overload: admitted requests are answered in time, and the server refuses the rest at once."""

import concurrent.futures
import itertools
import multiprocessing
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from campaigns.drills.drilled import Infer, drilled, keep_in_flight, points
from kit.inference_requests import request

MODEL = "direction_bidirectional"
HEAVY = request(MODEL, {"input": points(1000, 64)}, ["logits"]).SerializeToString()
LIGHT = request(MODEL, {"input": points(1, 4)}, ["logits"]).SerializeToString()
MIDDLING = request(MODEL, {"input": points(100, 64)}, ["logits"]).SerializeToString()

MAX_WAIT = 1.0
OVERLOAD = 5
"""Times as many heavy requests as are answered without a queue."""

ANSWERED_SECONDS = 4 * MAX_WAIT
"""What waits is counted by the costs on an idle machine. Here, a client has half of it."""

REFUSED_SECONDS = 0.25

DEADLINE = 8e-3
STORM_RATE = 1450.0


class Outcome(NamedTuple):
    """Result of a request: the status name and message, and the seconds until it arrived."""

    status: str
    text: str
    seconds: float


def open_loop(
    port: int, payloads: Sequence[bytes], rate: float, seconds: float, deadline: float = 60.0
) -> list[Outcome]:
    """Send payloads in turn when they are due, whether or not the server keeps up.

    A separate process sends them, so that its work doesn't slow the test.

    Args:
        port: The server's port.
        payloads: Messages to send in turn, repeatedly.
        rate: Requests per second.
        seconds: Duration.
        deadline: Time limit of each request in seconds.
    """
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_send, port, payloads, rate, seconds, deadline).result()


def _send(port: int, payloads: Sequence[bytes], rate: float, seconds: float, deadline: float) -> list[Outcome]:
    clients, sent = itertools.cycle([Infer(port) for _ in range(4)]), itertools.cycle(payloads)
    outcomes: list[Outcome] = []
    count, are_done = int(rate * seconds), threading.Semaphore(0)

    def note(call: Any, began: float) -> None:
        outcomes.append(Outcome(call.code().name, call.details() or "", time.perf_counter() - began))
        are_done.release()

    started = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, started + number / rate - time.perf_counter()))
        began = time.perf_counter()
        call = next(clients).call.future(next(sent), timeout=deadline)
        call.add_done_callback(lambda call, began=began: note(call, began))
    for _ in range(count):
        are_done.acquire()
    return outcomes


def answers_per_second(port: int, payload: bytes) -> float:
    """Measure a server's answers per second for one payload: the best of three, because the machine may stall."""
    return max(keep_in_flight(port, payload, 8, 1.0)["OK: "] for _ in range(3))


def quantile(seconds: Sequence[float], share: float) -> float:
    """Return the smallest duration that at least this share doesn't exceed."""
    return sorted(seconds)[min(int(share * len(seconds)), len(seconds) - 1)]


@pytest.mark.parametrize("seconds", [3.0, pytest.param(60.0, marks=pytest.mark.long)])
def test_light_requests_are_answered_during_overload_by_heavy_ones(repository, seconds):
    """Neither memory nor the queue grows."""
    with drilled(repository, "--max-wait", f"{MAX_WAIT}") as server:
        capacity = answers_per_second(server.port, HEAVY)
        outcomes = open_loop(server.port, [HEAVY, LIGHT], 2 * OVERLOAD * capacity, seconds)
        assert server.memory.peak < 700 << 20
        assert server.memory.settles_below(200 << 20)
    refused = [one for one in outcomes if one.status != "OK"]
    assert max(one.seconds for one in outcomes if one.status == "OK") < ANSWERED_SECONDS
    assert {one.status for one in refused} == {"RESOURCE_EXHAUSTED"}
    assert all("slow down" in one.text for one in refused)
    assert quantile([one.seconds for one in refused], 0.99) < REFUSED_SECONDS


def test_server_survives_many_expiring_deadlines(repository):
    """If more requests arrive than can be answered in time, some are answered, others dropped before they run."""
    with drilled(repository) as server:
        capacity = answers_per_second(server.port, MIDDLING)
        outcomes = open_loop(server.port, [MIDDLING], max(STORM_RATE, 2 * capacity), 3.0, DEADLINE)
        again = answers_per_second(server.port, MIDDLING)
    assert {one.status for one in outcomes} <= {"OK", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    useful = sum(one.status == "OK" for one in outcomes) / 3.0
    assert useful > 0.2 * capacity
    assert again > 0.2 * capacity
