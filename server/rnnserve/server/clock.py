"""The clock of all requests: monotonic, in seconds, from arrival to response.

Deadlines, arrivals and run times are compared with one another, so all of them use this clock. A wall clock could be
changed while requests wait. gRPC passes deadlines on the wall clock, which are converted when a request arrives.
"""

import time

__all__ = ["NO_DEADLINE", "from_wall_clock", "now"]

NO_DEADLINE = float(2**63 - 1)
"""grpcio's deadline for a call without one: the maximum of gRPC's core in seconds. It is the same on either clock."""

now = time.monotonic
"""Return the current time in seconds on this clock."""


def from_wall_clock(seconds: float) -> float:
    """Convert seconds since the epoch to this clock. Far in the future stays far in the future."""
    return seconds - time.time() + time.monotonic()
