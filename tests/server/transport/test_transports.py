"""Both transports are one thing to the server: what each makes of what it is asked."""

import types
from collections import Counter
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.settings import Settings
from rnnserve.server.transport.lane_transport import LaneTransport
from rnnserve.server.transport.pools import INFERENCE_THREADS, Pools
from rnnserve.server.transport.public_transport import PublicTransport

MESSAGE = 1000


class Dispatcher:
    """Says what it is told to say."""

    is_late = False
    closes = True

    def is_hung(self):
        return self.is_late

    def close(self, _):
        return self.closes


class Late:
    """The calls and streams that wait for a message."""

    is_receiving, has_streams = True, False

    def receiving(self):
        return Counter({"ipv4:127.0.0.1:1": 9, "ipv4:127.0.0.1:2": 1})

    def end_silent(self, count):
        return 10 * count


@pytest.fixture
def dispatcher():
    return Dispatcher()


@pytest.fixture
def on_lane(dispatcher) -> Any:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    lane: Any = LaneTransport(
        server, dispatcher, ByteBudget(1), print, lambda: 1, Settings(Path(), max_message_bytes=4 * MESSAGE // 5)
    )
    lane.late = Late()
    return lane


@pytest.fixture
def pools():
    pools = Pools.of(Settings(Path(), max_queue=10))
    yield pools
    pools.shutdown()


@pytest.fixture
def public(pools):
    return PublicTransport(grpc.server(futures.ThreadPoolExecutor(1)), pools, lambda: 1, Settings(Path()))


def test_what_the_lane_tells(on_lane, dispatcher):
    on_lane.taken, on_lane.turns = 5, 7
    assert (on_lane.threads, on_lane.taken, on_lane.is_receiving, on_lane.has_streams) == (0, 5, True, False)
    (turns,) = on_lane.turns_of_threads().values()
    assert turns() == 7
    on_lane.turns += 1
    assert turns() == 8
    assert on_lane.end_late(3) == 30
    assert on_lane.hung() == []
    dispatcher.is_late = True
    assert on_lane.hung() == ["the parsing of a large request"]


def test_what_is_in_flight_is_calls_and_requests_of_streams(on_lane, public, pools, monkeypatch):
    assert (on_lane.in_flight, public.in_flight) == (0, 0)
    on_lane._open_calls = 5  # two streams and a front among them
    monkeypatch.setattr(on_lane, "_streams", [types.SimpleNamespace(in_hand=number) for number in (0, 3)])
    monkeypatch.setattr(on_lane._new, "fronts", [types.SimpleNamespace(in_hand=7)])
    assert on_lane.in_flight == 2 + 3 + 7
    pools.inference.in_hand = 4
    assert public.in_flight == 4
    pools.inference.in_hand = 0


def test_what_may_arrive_on_the_lane_and_how_far_it_has_come(on_lane, monkeypatch):
    assert set(on_lane._expected().values()) == {4 * MESSAGE, MESSAGE}
    assert on_lane._progress() is None  # it has no thread yet
    monkeypatch.setattr(on_lane, "seconds_of_poll", lambda: 0.5)
    on_lane.taken, on_lane.turns = 5, 7
    assert on_lane._progress() == (12, 0.5)


@pytest.mark.parametrize(
    ("runs", "closes", "left"),
    [
        (False, True, []),
        (True, True, ["requests on the lane"]),
        (False, False, ["large requests"]),
        (True, False, ["requests on the lane", "large requests"]),
    ],
)
def test_what_of_the_lane_has_not_ended(on_lane, dispatcher, monkeypatch, runs, closes, left):
    monkeypatch.setattr(on_lane, "is_running", lambda: runs)
    monkeypatch.setattr(on_lane, "join", lambda _: None)
    dispatcher.closes = closes
    assert on_lane.end(now()) == left


def test_what_the_public_threads_are_told(public, pools):
    public.hold()
    assert pools.inference.is_holding
    assert pools.streams.is_holding
    assert not pools.control.is_holding
    public.release()
    assert not pools.inference.is_holding
    assert not pools.streams.is_holding
    public.note_short(True)
    assert pools.inference.is_short_of_memory


def test_what_the_public_threads_tell(public, pools):
    assert (public.threads, public.taken, public.has_streams) == (INFERENCE_THREADS, 0, False)
    assert pools.inference.submit(lambda: 3).result(20) == 3
    assert public.taken == 1
    pools.streams.late.silent[object()] = 0.0
    assert public.has_streams
    assert (public.turns_of_threads(), public.hung(), public.end(now())) == ({}, [], [])


def test_pools_hold_the_answers_of_the_other_methods(pools):
    pools.hold()
    assert [pool.is_holding for pool in (pools.control, pools.loading, pools.inference)] == [True, True, False]
    pools.release()
    assert not pools.control.is_holding
    assert not pools.loading.is_holding
