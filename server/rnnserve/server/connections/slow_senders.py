"""Which callers give way where memory is short: those whose messages do not arrive.

What has arrived of a message is not known before all of it has.
"""

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

__all__ = ["MEMORY_IS_SHORT", "SILENT_SECONDS", "crowded_first"]

T = TypeVar("T")

MEMORY_IS_SHORT = "the server's memory is short: slow down"
"""What the callers are told, with RESOURCE_EXHAUSTED."""

SILENT_SECONDS = 0.1
"""Seconds that a message may take to arrive while the server's memory is short. Beyond it: RESOURCE_EXHAUSTED, for a
call whose message has not arrived."""


def crowded_first(silent: Iterable[tuple[T, str, float]]) -> list[T]:
    """Order what is silent: first that of the connections with most of it, and of these what has been silent longest.

    Args:
        silent: Calls or streams, each with the name of its connection, and since when it has been silent.
    """
    listed = list(silent)
    counts = Counter(connection for _, connection, _ in listed)
    return [one for one, _, _ in sorted(listed, key=lambda each: (-counts[each[1]], each[2]))]
