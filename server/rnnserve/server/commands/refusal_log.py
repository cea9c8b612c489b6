"""Lines that say which requests were refused, and why: a line for all of some seconds, however many there were.

Of the first of each reason there are lines of their own (`common.request_lines`); these say how many there were.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator

from rnnserve.server.counting import places
from rnnserve.server.counting.totals import Totals

__all__ = ["RefusalLog", "refusals_logged"]

_log = logging.getLogger(__name__)

_SECONDS = 10.0
"""Seconds between two lines."""

_MOST = 8
"""Kinds of refusals that a line names; of others it says how many requests they were."""

Kind = tuple[str, str, str, str]
"""Model, version, status and reason."""


class RefusalLog:
    """Says what was refused since it said so last. For one thread."""

    def __init__(self, totals: Totals) -> None:
        """Begin with what is there, of which nothing is said.

        Args:
            totals: Counts of all processes.
        """
        self._totals = totals
        self._said = self._counted()

    def look(self) -> None:
        """Log a line, where there is something to say."""
        counted = self._counted()
        new = {kind: count - self._said.get(kind, 0) for kind, count in counted.items()}
        self._said = counted
        found = sorted(((count, kind) for kind, count in new.items() if count > 0), reverse=True)
        if found:
            named = [f"{model} {status} {reason} {count:,}" for count, (model, _, status, reason) in found[:_MOST]]
            rest = sum(count for count, _ in found[_MOST:])
            more = f"; others {rest:,}" if rest else ""
            _log.warning("requests were refused: %s%s", "; ".join(named), more)

    def _counted(self) -> dict[Kind, int]:
        return {
            (model, version, status, reason): round(number)
            for (model, version), total in self._totals.sums().items()
            if model
            for (status, reason), number in zip(places.REFUSALS, places.refusals(total.counts), strict=True)
        }


@contextlib.contextmanager
def refusals_logged(totals: Totals, log_requests: str = "errors") -> Iterator[None]:
    """Log what is refused inside the block, on a thread of its own, and at its end.

    Args:
        totals: Counts of all processes.
        log_requests: One of `LOG_REQUESTS`: with "none" nothing is logged.
    """
    if log_requests == "none":
        yield
        return
    log, is_over = RefusalLog(totals), threading.Event()

    def look_on() -> None:
        while not is_over.wait(_SECONDS):
            log.look()

    thread = threading.Thread(target=look_on, name="refusals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        log.look()
