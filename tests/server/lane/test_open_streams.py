"""Which streams are open on the lane, and which gives way to another."""

import pytest

from rnnserve.server.errors import TooManyStreams
from rnnserve.server.lane.open_streams import OpenStreams


class Stream:
    def __init__(self, connection, heard=0.0, is_idle=True):
        self.connection, self.heard, self.is_idle = connection, heard, is_idle

    def peer(self):
        return self.connection

    @property
    def is_waiting(self):
        return self.is_idle


def open_streams(most, *streams):
    opened = OpenStreams(most)
    for stream in streams:
        assert opened.make_room(stream.connection) is None
        opened.add(stream)
    return opened


def test_a_connection_has_half_of_the_streams():
    opened = open_streams(5, *[Stream("a") for _ in range(3)])
    with pytest.raises(TooManyStreams, match=r"5 streams are open already, or half of them"):
        opened.make_room("a")
    assert opened.make_room("b") is None


def test_the_one_silent_longest_of_the_connection_with_most_gives_way():
    silent, others = Stream("a", heard=1.0), [Stream("a", heard=2.0), Stream("b"), Stream("b", heard=0.5)]
    opened = open_streams(4, silent, *others)
    assert opened.make_room("c") is silent
    assert len(opened) == 3
    opened.add(Stream("c"))
    opened.discard(silent)  # its last event comes later
    assert len(opened) == 4


def test_none_gives_way_to_a_connection_with_as_many_nor_one_that_is_in_use():
    opened = open_streams(4, Stream("a"), Stream("a"), Stream("b"), Stream("c"))
    with pytest.raises(TooManyStreams):
        opened.make_room("b")
    opened = open_streams(4, *[Stream(name, is_idle=False) for name in "aabb"])
    with pytest.raises(TooManyStreams):
        opened.make_room("c")
    assert len(opened) == 4
