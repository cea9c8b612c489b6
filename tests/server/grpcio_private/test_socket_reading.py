"""When grpcio's thread leaves the sockets to the lane's, and when that looks for more before it waits."""

import contextlib
import time
from concurrent import futures
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.grpcio_private import socket_reading
from rnnserve.server.grpcio_private.socket_reading import ArrivalPace, use_serving_queue

TIMEOUT, EVENT = SimpleNamespace(completion_type="time-out"), SimpleNamespace(completion_type="event")


@pytest.fixture
def clock(monkeypatch):
    """The clock of the module, in seconds; and what it sleeps, which takes time on it."""
    clock = SimpleNamespace(now=1000.0, slept=[])

    def sleep(seconds):
        clock.slept.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(socket_reading, "now", lambda: clock.now)
    monkeypatch.setattr(socket_reading, "time", SimpleNamespace(time=lambda: clock.now, sleep=sleep))
    return clock


def arrive(pace, *connections):
    pace.note([SimpleNamespace(peer=lambda name=name: name) for name in connections])


@pytest.fixture
def pace(clock):
    """One that has heard a connection before, and some time ago."""
    pace = ArrivalPace()
    assert not pace.is_left_to_lane()  # none at all
    arrive(pace, "one")
    arrive(pace, "two")
    clock.now += 10
    return pace


def test_few_requests_of_few_connections_are_few(pace, clock):
    for _ in range(20):
        arrive(pace, *["one"] * 8)
        assert pace.is_left_to_lane()
        arrive(pace, "two")
        assert pace.is_left_to_lane()
        clock.now += 0.2
    clock.now += 0.06
    assert not pace.is_left_to_lane()  # they have stopped


@pytest.mark.parametrize("many", [["one"] * 9, ["three"]])
def test_many_requests_or_those_of_other_connections_are_not(pace, clock, many):
    arrive(pace, "one")
    assert pace.is_left_to_lane()
    arrive(pace, *many)
    assert not pace.is_left_to_lane()
    clock.now += 0.04
    arrive(pace, "one")
    assert not pace.is_left_to_lane()
    clock.now += 0.06
    arrive(pace, "one")
    assert pace.is_left_to_lane()


def test_what_comes_soon_is_looked_for(pace, clock, monkeypatch):
    arrive(pace, "one")
    assert not pace.look_until
    clock.now += 600e-6
    arrive(pace, "one")
    assert not pace.look_until
    clock.now += 400e-6
    arrive(pace, "one")
    assert pace.look_until == pytest.approx(clock.now + 600e-6, abs=1e-9)  # the next one may be somewhat later
    clock.now += 50e-6
    arrive(pace, "one")
    assert pace.look_until == pytest.approx(clock.now + 150e-6, abs=1e-9)
    pace.look_until = 0
    clock.now += 400e-6
    arrive(pace, *["one"] * 9)
    assert not pace.look_until
    monkeypatch.setattr(pace, "_may_look", False)
    clock.now += 400e-6
    arrive(pace, "one")
    assert not pace.look_until


@pytest.mark.parametrize(("cores", "may_look"), [(1, False), (2, True)])
def test_on_one_core_the_client_has_to_run(cores, may_look, monkeypatch):
    monkeypatch.setattr(socket_reading, "os", SimpleNamespace(environ={}, sched_getaffinity=lambda _: range(cores)))
    assert ArrivalPace()._may_look is may_look
    monkeypatch.setattr(socket_reading, "os", SimpleNamespace(environ={}))
    assert not ArrivalPace()._may_look


@pytest.mark.parametrize(("system", "polling", "is_left"), [
    ("linux", None, True),
    ("linux", "epoll1", True),
    ("linux", "poll", False),
    ("darwin", None, False),
])  # fmt: skip
def test_where_each_queue_has_sockets_of_its_own_both_threads_wait(clock, monkeypatch, system, polling, is_left):
    monkeypatch.setattr(socket_reading, "sys", SimpleNamespace(platform=system))
    monkeypatch.delenv("GRPC_POLL_STRATEGY", raising=False)
    if polling is not None:
        monkeypatch.setenv("GRPC_POLL_STRATEGY", polling)
    pace = ArrivalPace()
    arrive(pace, "one")
    clock.now += 0.1
    arrive(pace, "one")
    assert pace.is_left_to_lane() is is_left


class Queue:
    """As grpcio's: gives a time-out at its deadline, or what the test has put into it."""

    def __init__(self):
        self.deadlines, self.events, self.clock = [], [], None

    def poll(self, deadline):
        self.deadlines.append(deadline)
        if self.events:
            return self.events.pop()
        self.clock.now = max(self.clock.now, deadline)
        return TIMEOUT


@pytest.fixture
def serving(pace, clock):
    """The queue that a server gets."""
    registered = []
    before = object()
    core = SimpleNamespace(register_completion_queue=registered.append)
    server = SimpleNamespace(_state=SimpleNamespace(server=core, completion_queue=before))
    cygrpc = SimpleNamespace(
        CompletionQueue=Queue, CompletionType=SimpleNamespace(queue_timeout=TIMEOUT.completion_type)
    )
    assert use_serving_queue(server, cygrpc, pace) is before
    queue = server._state.completion_queue
    assert registered == [queue]
    queue.clock = clock
    return queue


def test_without_requests_on_the_lane_the_thread_waits(serving, clock):
    start = clock.now
    assert serving.poll(start + 0.1) is TIMEOUT
    assert serving.poll(start + 1.1) is TIMEOUT
    assert serving.deadlines == [start + 0.1, pytest.approx(start + 0.3)]
    assert not clock.slept


def test_while_few_come_it_looks_now_and_then(serving, pace, clock):
    arrive(pace, "one")
    start = clock.now
    assert serving.poll(start + 0.035) is TIMEOUT
    assert serving.deadlines == [1.0] * 5
    assert clock.slept == [0.01] * 4


def test_it_waits_again_when_they_stop(serving, pace, clock):
    arrive(pace, "one")
    start = clock.now
    assert serving.poll(start + 1) is TIMEOUT
    assert clock.now == pytest.approx(start + 0.45, abs=0.011)
    assert serving.deadlines[-2:] == [1.0, pytest.approx(clock.now)]


def test_after_an_event_of_its_own_it_waits_for_the_next(serving, pace, clock):
    arrive(pace, "one")
    serving.events.append(EVENT)
    start = clock.now
    assert serving.poll(start + 1) is EVENT
    assert serving.deadlines == [1.0]
    serving.events.append(EVENT)
    assert serving.poll(start + 1) is EVENT
    clock.now = start + 0.09
    arrive(pace, "one")
    assert serving.poll(clock.now + 0.005) is TIMEOUT
    assert serving.deadlines[1:] == [pytest.approx(start + 0.2), pytest.approx(start + 0.095)]
    assert not clock.slept


def test_both_methods_are_answered_while_one_client_asks_again_and_again(repository):
    """And a client beside it, of another method, whose thread leaves the sockets to the lane's."""
    settings = Settings(repository, grpc_port=0, provider="cpu", transport="lane")
    with Server(settings) as server, contextlib.ExitStack() as stack:
        stubs = [
            rpc.GRPCInferenceServiceStub(
                stack.enter_context(
                    grpc.insecure_channel(f"127.0.0.1:{server.port}", [("grpc.use_local_subchannel_pool", 1)])
                )
            )
            for _ in range(2)
        ]
        pool = stack.enter_context(futures.ThreadPoolExecutor(1))
        message = request("direction_simple", {"input": np.zeros((1, 1, 2), np.float32)}, ["logits"])
        lane: Any = server._transport._transport
        pace = lane._pace
        seen = []

        def ask():
            deadline = time.monotonic() + 30
            while len(seen) < 5 and time.monotonic() < deadline:
                stubs[0].ModelInfer(message)
            return len(seen)

        asking = pool.submit(ask)
        for _ in range(5):
            until(pace.is_left_to_lane)
            time.sleep(0.15)  # the other thread's own calls are long past
            seen.append(stubs[1].ServerLive(pb.ServerLiveRequest(), timeout=20).live)
        assert asking.result() == 5
        assert all(seen)
        until(lambda: not pace.is_left_to_lane())
        assert stubs[1].ServerLive(pb.ServerLiveRequest(), timeout=20).live
        assert stubs[0].ModelInfer(message, timeout=20).outputs
