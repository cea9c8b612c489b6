"""A pool of threads, and the clock of one that is made with it."""

import pytest

from kit.pooled_messages import Clock
from rnnserve.server.errors import TooManyCalls
from rnnserve.server.transport.thread_pool import CallPool


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pool():
    pool = CallPool(2, 3, "test", TooManyCalls("Test", 3))
    yield pool
    pool.shutdown()
