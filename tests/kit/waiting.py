"""Waiting for what another thread or process does: the one way in which tests do it, and for how long."""

import time
from collections.abc import Callable

PATIENCE = 30.0
"""Seconds after which what a test waits for is taken not to come: far more than it takes on a busy machine."""

_PAUSE = 0.01


def until(condition: Callable[[], object], patience: float = PATIENCE) -> None:
    """Wait until a condition holds.

    Args:
        condition: Asked again and again.
        patience: Seconds after which the test fails.
    """
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(_PAUSE)
