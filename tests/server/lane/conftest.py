"""What runs requests that do not run on the lane."""

import math

import pytest

from rnnserve.server.batching.scheduler import Schedulers
from rnnserve.server.batching.waiting_limits import WaitingLimits


@pytest.fixture
def schedulers():
    schedulers = Schedulers(WaitingLimits(300, math.inf))
    yield schedulers
    schedulers.close()
