"""Requests that are sent when they are due, whether or not the server keeps up: what became of each, and when."""

import concurrent.futures
import itertools
import multiprocessing
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from campaigns.drills.drilled import Infer

__all__ = ["Outcome", "answers_per_second", "open_loop", "quantile"]

_PATIENCE = 60.0


class Outcome(NamedTuple):
    """What became of a request.

    Attributes:
        kind: Its payload's place among those that were sent in turn.
        status: Its status's name.
        text: The status's message.
        seconds: From when it was sent until its status came.
    """

    kind: int
    status: str
    text: str
    seconds: float


def open_loop(
    port: int, payloads: Sequence[bytes], rate: float, seconds: float, deadline: float | None = None
) -> list[Outcome]:
    """Send payloads in turn, from a process of its own, so that its work is not the test's.

    Args:
        port: The server's.
        payloads: What to send, one after the other, again and again.
        rate: Requests per second, of all together.
        seconds: For how long.
        deadline: Seconds that each may take; None for a minute.
    """
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_send, port, payloads, rate, seconds, deadline).result()


def answers_per_second(port: int, payload: bytes, seconds: float, in_flight: int = 8, times: int = 3) -> float:
    """How many answers a second a server gives to one payload, with some requests always in flight.

    The best of several times counts, each of so many seconds: in one of them the machine may have stood still.
    """
    return max(_answers_per_second(port, payload, seconds, in_flight) for _ in range(times))


def _answers_per_second(port: int, payload: bytes, seconds: float, in_flight: int) -> float:
    client, answered, ends = Infer(port), 0, time.monotonic() + seconds
    waiting = [client.call.future(payload, timeout=_PATIENCE) for _ in range(in_flight)]
    started = time.monotonic()
    while time.monotonic() < ends:
        waiting.pop(0).result()
        answered += 1
        waiting.append(client.call.future(payload, timeout=_PATIENCE))
    elapsed = time.monotonic() - started
    for future in waiting:
        future.result()
    return answered / elapsed


def quantile(seconds: Sequence[float], share: float) -> float:
    """The duration that a share of all does not exceed."""
    return sorted(seconds)[min(int(share * len(seconds)), len(seconds) - 1)]


def _send(port: int, payloads: Sequence[bytes], rate: float, seconds: float, deadline: float | None) -> list[Outcome]:
    clients = itertools.cycle([Infer(port) for _ in range(4)])
    outcomes: list[Outcome] = []
    count = int(rate * seconds)
    are_done = threading.Semaphore(0)
    started = time.perf_counter()
    for number in range(count):
        time.sleep(max(0.0, started + number / rate - time.perf_counter()))
        kind, sent = number % len(payloads), time.perf_counter()

        def note(future: Any, kind: int = kind, sent: float = sent) -> None:
            taken = time.perf_counter() - sent
            outcomes.append(Outcome(kind, future.code().name, future.details() or "", taken))
            are_done.release()

        next(clients).call.future(payloads[kind], timeout=deadline or _PATIENCE).add_done_callback(note)
    for _ in range(count):
        are_done.acquire()
    return outcomes
