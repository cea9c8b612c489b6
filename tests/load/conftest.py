import asyncio
import selectors
from typing import Any

import pytest

from kit.load_tests import *  # noqa: F403 - all fixtures of the load test


class VirtualTime(asyncio.SelectorEventLoop):
    """An event loop that doesn't wait but moves its clock."""

    def __init__(self):
        self.now = 0
        real: Any = selectors.SelectSelector()
        super().__init__(real)
        select = real.select

        def moved(timeout=None):
            self.now += round((timeout or 0) * 1e9)
            return select(0)

        real.select = moved

    def time(self):
        return self.now / 1e9

    def clock(self):
        self.now += 1  # so that looking at the clock until it is time comes to an end
        return self.now


@pytest.fixture
def loop():
    loop = VirtualTime()
    yield loop
    loop.close()
