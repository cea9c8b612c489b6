"""The one clock of requests: monotonic, in seconds, from arrival to answer.

Deadlines, arrivals and runs are compared with one another, so that all of them are on this clock; a wall clock may be
set while requests wait. gRPC gives deadlines on the wall clock; they are converted when a request arrives.
"""

import time

__all__ = ["NO_DEADLINE", "from_wall_clock", "now"]

NO_DEADLINE = float(2**63 - 1)
"""What grpcio gives as the deadline of a call without one: the most seconds that gRPC's core can tell. It is the same
on either clock."""

now = time.monotonic
"""Seconds on this clock."""


def from_wall_clock(seconds: float) -> float:
    """Convert a time given in seconds since the epoch to this clock; far in the future stays far in the future."""
    return seconds - time.time() + time.monotonic()
