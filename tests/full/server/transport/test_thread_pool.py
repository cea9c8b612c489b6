"""A bounded number of threads and of calls: what is too much is refused, and late messages give way."""

import pytest

from kit.pooled_messages import PATIENCE, Clock, Context, Messages, receiving
from kit.waiting import until
from rnnserve.server.errors import Cancelled, TooManyCalls
from rnnserve.server.transport.thread_pool import CallPool


@pytest.fixture
def clock():
    return Clock()


def test_where_calls_were_refused_those_without_a_message_give_way(clock):
    pool = CallPool(4, 4, "test", TooManyCalls("Test", 4), hopeless_seconds=0.2, clock=clock)
    contexts = [Context() for _ in range(4)]
    late = [pool.submit(receiving(pool), Messages(context), context) for context in contexts]
    until(lambda: len(pool.late.receiving) == 4, meanwhile=lambda: clock.go_on(0.03))

    def is_taken():
        try:
            return pool.submit(receiving(pool), iter([b"message"]), Context()).result(PATIENCE) == b"message"
        except TooManyCalls:
            return False

    assert not is_taken()
    until(is_taken, meanwhile=lambda: clock.go_on(0.05))
    assert isinstance(late[0].exception(PATIENCE), Cancelled)  # the oldest
    for context in contexts:
        context.cancel()
    pool.shutdown()
