"""Noticing that this process may open no more descriptors: then it accepts no connections, and reads no files.

gRPC's core tries again each second, and says so each time, but not which limit it is. Connections that there are go on.
"""

import errno
import logging
import os
import time
from collections.abc import Callable

from rnnserve.server.process.resources import why_no_resource

__all__ = ["DescriptorWatch"]

_log = logging.getLogger(__name__)

_AGAIN_SECONDS = 60.0
"""Seconds between two lines that say so, where it goes on, or comes again and again."""


class DescriptorWatch:
    """Says once a minute at most that no descriptor is left. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing said.

        Args:
            clock: Clock, in seconds.
        """
        self._clock = clock
        self._say_at = 0.0
        self._is_out = False

    def look(self) -> None:
        """Look whether one more descriptor could be opened; a few microseconds, whatever their number."""
        why = _why_none_left()
        if why is None:
            if self._is_out:
                _log.info("descriptors are left again: connections are accepted")
            self._is_out = False
        elif self._clock() >= self._say_at:
            self._say_at = self._clock() + _AGAIN_SECONDS
            self._is_out = True
            _log.error("no new connection is accepted until another ends: %s", why)


def _why_none_left() -> str | None:
    try:
        fd = os.open(os.devnull, os.O_RDONLY)
    except OSError as error:
        return why_no_resource(error) if error.errno in (errno.EMFILE, errno.ENFILE) else None
    os.close(fd)
    return None
