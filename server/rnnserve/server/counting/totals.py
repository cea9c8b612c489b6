"""The sum of the tables of several processes, with what those that have ended had counted."""

import dataclasses
import math
import operator
import threading
import time
from collections import Counter

from rnnserve.common.front_counts import NUMBERS, FrontCounts
from rnnserve.server.counting.places import (
    HELD_BYTES,
    IN_FLIGHT,
    PLACES,
    QUEUED,
    READY,
    SEQUENCES,
    TLS_NOT_AFTER,
    is_settled,
)
from rnnserve.server.counting.table import CountTable

__all__ = ["Total", "Totals"]

_GAUGES = (READY, QUEUED, HELD_BYTES, SEQUENCES, IN_FLIGHT, TLS_NOT_AFTER)
"""What a process that has ended has none of."""

_SETTLING_SECONDS = 5e-3
"""Seconds that a reader waits for processes that are just answering (`places.is_settled`), in all."""


@dataclasses.dataclass
class Total:
    """What was counted of a version.

    Attributes:
        about: What else there is to tell of it; of one that no living process has, nothing.
        counts: Its numbers (places).
    """

    about: dict[str, str] = dataclasses.field(default_factory=dict)
    counts: list[float] = dataclasses.field(default_factory=lambda: [0.0] * PLACES)


class Totals:
    """Sums tables. Any thread may call it.

    Attributes:
        restarts: How often a worker was replaced, by reason.
        fronts: What each HTTP gateway counts itself.
    """

    def __init__(self) -> None:
        """Start with none."""
        self.restarts: Counter[str] = Counter()
        self.fronts: list[FrontCounts] = []
        self._lock = threading.Lock()
        self._living: list[CountTable] = []
        self._kept: dict[tuple[str, str], Total] = {}

    def add(self, table: CountTable) -> None:
        """Count what is in a table from now on."""
        with self._lock:
            self._living.append(table)

    def keep(self, table: CountTable) -> None:
        """Keep what a process has counted that has ended, and close its table."""
        with self._lock:
            self._living.remove(table)
            _add(self._kept, table, is_living=False)
        table.close()

    def of_fronts(self) -> list[float]:
        """What the HTTP gateways have counted together."""
        return [
            sum(numbers) for numbers in zip([0.0] * NUMBERS, *[front.numbers() for front in self.fronts], strict=True)
        ]

    def sums(self) -> dict[tuple[str, str], Total]:
        """The totals by model and version; the process's are those of ("", "")."""
        until = time.monotonic() + _SETTLING_SECONDS
        with self._lock:
            totals = {name: Total({}, list(total.counts)) for name, total in self._kept.items()}
            for table in self._living:
                _add(totals, table, is_living=True, until=until)
        return totals


def _add(totals: dict[tuple[str, str], Total], table: CountTable, *, is_living: bool, until: float = -math.inf) -> None:
    for row in table.rows():
        numbers = list(row.counts)
        while not is_settled(numbers) and time.monotonic() < until:
            time.sleep(0.1e-3)
            numbers = list(row.counts)
        if not is_living:
            for place in _GAUGES:
                numbers[place] = 0.0
        total = totals.get((row.model, row.version))
        if total is None:
            totals[row.model, row.version] = Total(dict(row.about) if is_living else {}, numbers)
            continue
        if is_living:
            total.about.update(row.about)
        ends = [each for each in (total.counts[TLS_NOT_AFTER], numbers[TLS_NOT_AFTER]) if each]
        total.counts = list(map(operator.add, total.counts, numbers))
        total.counts[TLS_NOT_AFTER] = min(ends, default=0.0)
