"""Which calls and streams of the lane give way where memory is short."""

from collections import Counter
from typing import Any

import pytest

from rnnserve.server.connections.slow_senders import MEMORY_IS_SHORT
from rnnserve.server.lane.late_calls import LateCalls


class Call:
    """A call of the lane, and grpcio's: it notes how it was ended."""

    def __init__(self, connection):
        self._connection = connection
        self.call = self
        self.ended = None

    def peer(self):
        return self._connection

    def cancel(self, status, words):
        self.ended = status, words


class Streams:
    """The streams that are open, all of them silent."""

    def __init__(self, *streams):
        self._streams = streams

    def __len__(self):
        return len(self._streams)

    def open_of_connections(self):
        return Counter(stream.peer() for stream in self._streams)

    def silent(self):
        return list(self._streams)


@pytest.fixture
def pause(monkeypatch):
    """What happens while it is waited whether messages arrive."""
    meanwhile = []
    monkeypatch.setattr("rnnserve.server.lane.late_calls.time.sleep", lambda _: [one() for one in meanwhile])
    return meanwhile


def late_calls_of(unfinished: Any, *streams: Any) -> LateCalls:
    open_streams: Any = Streams(*streams)
    return LateCalls(unfinished.keys(), open_streams, "exhausted")


def ended(calls):
    return [call for call in calls if call.ended == ("exhausted", MEMORY_IS_SHORT)]


def test_the_oldest_calls_whose_messages_have_not_arrived_meanwhile(pause):
    calls, streams = [Call("a") for _ in range(4)], [Call("s")]
    unfinished = dict.fromkeys(calls)
    pause.append(lambda: unfinished.pop(calls[0]))
    late = late_calls_of(unfinished, *streams)
    assert late.end_silent(2) == 2
    assert ended([*calls, *streams]) == calls[1:3]


@pytest.mark.parametrize("arrives", [False, True], ids=["no call", "a call that arrives"])
def test_streams_where_no_call_is_late_and_eight_times_as_many(pause, arrives):
    streams = [Call("s") for _ in range(20)]
    unfinished = dict.fromkeys([Call("a")] if arrives else [])
    pause.append(unfinished.clear)
    late = late_calls_of(unfinished, *streams)
    assert late.end_silent(2) == 16
    assert ended(streams) == streams[:16]


def test_what_may_be_arriving():
    unfinished = dict.fromkeys([Call("a"), Call("a"), Call("b")])
    late = late_calls_of(unfinished, Call("b"), Call("c"))
    assert late.receiving() == {"a": 2, "b": 2, "c": 1}
    assert late.is_receiving
    assert late.has_streams
    unfinished.clear()
    assert not late.is_receiving
    assert not late_calls_of(unfinished).has_streams


def test_all_whose_messages_are_being_received_end_where_one_was_lost():
    calls = {Call("a"): None, Call("b"): None}
    late_calls_of(calls).end_unfinished()
    assert ended(calls) == list(calls)
