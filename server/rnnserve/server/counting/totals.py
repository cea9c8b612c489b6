"""The sum of the tables of several processes, with what those that have ended had counted."""

import dataclasses
import threading
from collections import Counter

from rnnserve.server.counting.places import HELD_BYTES, PLACES, QUEUED, READY, SEQUENCES
from rnnserve.server.counting.table import CountTable

__all__ = ["Total", "Totals"]

_GAUGES = (READY, QUEUED, HELD_BYTES, SEQUENCES)
"""What a process that has ended has none of."""


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
    """

    def __init__(self) -> None:
        """Start with none."""
        self.restarts: Counter[str] = Counter()
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

    def ended(self) -> dict[tuple[str, str], list[float]]:
        """What processes have counted that have ended, by model and version."""
        with self._lock:
            return {name: list(total.counts) for name, total in self._kept.items() if name[0]}

    def sums(self) -> dict[tuple[str, str], Total]:
        """The totals by model and version; the process's are those of ("", "")."""
        with self._lock:
            totals = {name: Total({}, list(total.counts)) for name, total in self._kept.items()}
            for table in self._living:
                _add(totals, table, is_living=True)
        return totals


def _add(totals: dict[tuple[str, str], Total], table: CountTable, *, is_living: bool) -> None:
    for row in table.rows():
        total = totals.setdefault((row.model, row.version), Total())
        numbers = list(row.counts)
        if is_living:
            total.about.update(row.about)
        else:
            for place in _GAUGES:
                numbers[place] = 0.0
        total.counts = [mine + its for mine, its in zip(total.counts, numbers, strict=True)]
