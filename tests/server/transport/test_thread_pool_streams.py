"""Streams in a pool of threads: their messages, and those from which nothing comes."""

import pytest

from kit.pooled_messages import PATIENCE, Context, Messages
from kit.waiting import until
from rnnserve.server.errors import Cancelled, TooManyCalls
from rnnserve.server.transport.thread_pool import CallPool


def test_messages_of_a_stream_are_received_one_by_one(pool):
    messages = iter([b"one", b"two"])
    assert [pool.receive_next(messages, Context()) for _ in range(3)] == [b"one", b"two", None]


def test_streams_from_which_nothing_comes_are_ended_first_those_of_the_connection_with_most(clock):
    pool = CallPool(4, 4, "test", TooManyCalls("Test", 4), clock=clock)
    contexts = [Context("a"), Context("b"), Context("a"), Context("c")]
    streams = [Messages(context) for context in contexts]

    def follow(number):
        return list(pool.messages_of_stream(streams[number], contexts[number]))

    try:
        following = [pool.submit(follow, number) for number in range(4)]
        until(lambda: len(pool.late.silent) == 4)
        assert pool.late.end_silent(4) == 0  # none for long
        clock.go_on(0.2)
        assert pool.has_silent
        assert pool.late.end_silent(2) == 2
        assert [context.cancelled.is_set() for context in contexts] == [True, False, True, False]
        for one in (following[0], following[2]):
            with pytest.raises(Cancelled, match="the call ended"):
                one.result(PATIENCE)
        assert pool.late.end_silent(4) == 2
        for one in following:
            assert one.exception(PATIENCE)
        assert not pool.has_silent
    finally:
        pool.shutdown()


def test_the_messages_of_a_stream_come_one_by_one_until_its_end(pool):
    messages = pool.messages_of_stream(iter([b"one", b"two"]), Context())
    assert next(messages) == b"one"
    assert not pool.has_silent  # it is answered
    assert list(messages) == [b"two"]
