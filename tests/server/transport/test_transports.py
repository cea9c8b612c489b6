"""Both transports are one thing to the server: what each makes of what it is asked."""

from collections import Counter
from concurrent import futures
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from rnnserve.server.clock import now
from rnnserve.server.errors import ShuttingDown
from rnnserve.server.settings import Settings
from rnnserve.server.transport.lane_transport import LaneTransport
from rnnserve.server.transport.pools import INFERENCE_THREADS, Pools
from rnnserve.server.transport.public_transport import PublicTransport

MESSAGE = 1000


class Lane:
    """Notes what it is told."""

    def __init__(self):
        self.told = []
        self.taken, self.turns = 5, 7
        self.runs, self.seconds = False, None
        self.late = SimpleNamespace(
            is_receiving=True,
            has_streams=False,
            receiving=lambda: Counter({"ipv4:127.0.0.1:1": 9, "ipv4:127.0.0.1:2": 1}),
            end_silent=lambda count: 10 * count,
        )

    def __getattr__(self, name):
        return lambda *args: self.told.append((name, *args))

    def is_running(self):
        return self.runs

    def seconds_of_poll(self):
        return self.seconds


@pytest.fixture
def lane():
    return Lane()


@pytest.fixture
def dispatcher():
    return SimpleNamespace(is_hung=lambda: False, close=lambda _: True)


@pytest.fixture
def on_lane(lane, dispatcher):
    return LaneTransport(lane, dispatcher, lambda: 1, MESSAGE)


@pytest.fixture
def pools():
    pools = Pools.of(Settings(Path(), max_queue=10))
    yield pools
    pools.shutdown()


@pytest.fixture
def public(pools):
    return PublicTransport(grpc.server(futures.ThreadPoolExecutor(1)), pools, lambda: 1)


def test_what_the_lane_is_told(on_lane, lane):
    error = ShuttingDown("now")
    on_lane.hold()
    on_lane.release()
    on_lane.end_streams(error)
    on_lane.stop_accepting()
    on_lane.note_short(True)
    assert lane.told == [("hold",), ("release",), ("end_streams", error), ("stop_accepting",)]


def test_what_the_lane_tells(on_lane, lane, dispatcher):
    assert (on_lane.threads, on_lane.taken, on_lane.is_receiving, on_lane.has_streams) == (0, 5, True, False)
    (turns,) = on_lane.turns().values()
    assert turns() == 7
    lane.turns += 1
    assert turns() == 8
    assert on_lane.end_late(3) == 30
    assert on_lane.hung() == []
    dispatcher.is_hung = lambda: True
    assert on_lane.hung() == ["the parsing of a large request"]


def test_what_may_arrive_on_the_lane_and_how_far_it_has_come(on_lane, lane):
    assert set(on_lane._expected().values()) == {4 * MESSAGE, MESSAGE}
    assert on_lane._progress() is None
    lane.seconds = 0.5
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
def test_what_of_the_lane_has_not_ended(on_lane, lane, dispatcher, runs, closes, left):
    lane.runs = runs
    dispatcher.close = lambda _: closes
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
    assert (public.turns(), public.hung(), public.end(now())) == ({}, [], [])


def test_pools_hold_the_answers_of_the_other_methods(pools):
    pools.hold()
    assert [pool.is_holding for pool in (pools.control, pools.loading, pools.inference)] == [True, True, False]
    pools.release()
    assert not pools.control.is_holding
    assert not pools.loading.is_holding
