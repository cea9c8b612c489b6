"""Streams that each keep a thread: a connection has half of them, and the one with most gives way."""

import time

import grpc
import pytest

from kit.call_events import CallEvent
from rnnserve.server.errors import Cancelled, TooManyStreams
from rnnserve.server.transport.stream_pool import StreamPool

PATIENCE = 20.0


class Stream:
    """A stream's context and messages: it waits for its client until it is cancelled."""

    def __init__(self, connection: str) -> None:
        self.connection, self.is_cancelled, self.is_followed = connection, False, False

    def peer(self) -> str:
        return self.connection

    def cancel(self) -> None:
        self.is_cancelled = True

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> bytes:
        self.is_followed = True
        while not self.is_cancelled:
            time.sleep(0.01)
        raise grpc.RpcError


@pytest.fixture
def pool():
    pool = StreamPool(4)
    yield pool
    for stream in list(pool.late.silent):  # which a test that has failed has left open
        stream.cancel()
    pool.shutdown()


def follow(_, pool, stream):
    return list(pool.messages_of_stream(stream, stream))


def opened(pool, *streams):
    futures = [pool.submit(follow, CallEvent(stream.connection), pool, stream) for stream in streams]
    ends = time.monotonic() + PATIENCE
    while not all(one.is_followed or future.done() for one, future in zip(streams, futures, strict=True)):
        assert time.monotonic() < ends
        time.sleep(0.01)
    return futures


def test_a_connection_has_half_of_them(pool):
    streams = [Stream("a") for _ in range(3)]
    futures = opened(pool, *streams)
    with pytest.raises(TooManyStreams):
        futures[2].result(PATIENCE)
    for stream in streams:
        stream.cancel()
    for future in futures[:2]:
        assert isinstance(future.exception(PATIENCE), Cancelled)
    again = Stream("a")
    opened(pool, again)
    assert again.is_followed
    again.cancel()


def test_where_all_are_open_the_oldest_of_the_connection_with_most_gives_way(pool):
    streams = [Stream(name) for name in "baab"]
    futures = [future for stream in streams for future in opened(pool, stream)]  # one after another: threads overtake
    polite = Stream("c")
    opened(pool, polite)
    assert [stream.is_cancelled for stream in streams].count(True) == 1
    (ended,) = [at for at, stream in enumerate(streams) if stream.is_cancelled]
    assert ended in (0, 1), "the first one of a connection"
    assert isinstance(futures[ended].exception(PATIENCE), Cancelled)
    assert polite.is_followed
    (refused,) = opened(pool, Stream("c"))
    with pytest.raises(TooManyStreams):
        refused.result(PATIENCE)
    for stream in (*streams, polite):
        stream.cancel()
