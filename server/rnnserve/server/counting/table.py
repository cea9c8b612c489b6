"""A table of counts: rows for the process, for unknown models, and for each version and token.

The table's memory outlives the process that counts. A supervisor creates it and passes its descriptor to a worker, so
the counts are complete up to the last request even if the worker is killed. Readers take no lock, because each number
is written atomically and names are only appended.
"""

import json
import mmap
import os
import threading
from typing import NamedTuple, TypeAlias, TypeVar

from rnnserve.server.counting.places import (
    HTTP_ANSWERED,
    LAYOUT,
    PLACES,
    REFUSED_AFTER_RUN,
    refusal_place,
)
from rnnserve.server.errors import ServeError

__all__ = [
    "ADDING",
    "OTHER",
    "CountTable",
    "Counts",
    "TableRow",
    "after_run",
    "answering",
    "count_http_answer",
    "count_in_process",
    "count_refusal",
    "private_counts",
    "use_table",
    "used_table",
]

Counts: TypeAlias = "memoryview[float]"
"""The numbers of a row (`places`), as float64."""

ADDING = threading.Lock()
"""Must be held while adding to this process's table, because several models and threads may add to one row."""

OTHER = "other"
"""Model name that counts requests for models that aren't served, because clients may send any number of names."""

# Memory layout: `LAYOUT`, the end of the names as a float, the names, and the rows.
_NAMES, _ROWS_START, _MOST_ROWS = 16, 1 << 20, 1024
_BYTES = _ROWS_START + _MOST_ROWS * PLACES * 8


class TableRow(NamedTuple):
    """The row of a version, of a token (its name replaces the version), or of the process (empty names)."""

    model: str
    version: str
    about: dict[str, str]  # further labels of the version in `/metrics`
    counts: Counts


class CountTable:
    """The counts of one process. Any thread may use it, but only one process may add rows."""

    def __init__(self, fd: int | None = None) -> None:
        """Create a table or open another process's. Raise ValueError if that process uses another release's layout."""
        self.descriptor = os.memfd_create("rnnserve-counts") if fd is None else fd
        if fd is None:
            os.ftruncate(self.descriptor, _BYTES)  # takes no memory until it is written
        self._memory = mmap.mmap(self.descriptor, _BYTES)
        self._numbers = memoryview(self._memory).cast("d")
        if fd is None:
            self._memory[: len(LAYOUT)] = LAYOUT
            self._numbers[1] = _NAMES
        elif self._memory[: len(LAYOUT)] != LAYOUT:
            raise ValueError("this table of counts belongs to another release of rnnserve")
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str], TableRow] = {}
        self._read_to = _NAMES
        self.process = self.row("", "")
        self.other = self.row(OTHER, "")

    def row(self, model: str, version: str) -> Counts:
        """Return the counts of a version, created at first use, or `other`'s if a thousand names fill the table."""
        with self._lock:
            self._read_names()
            if (model, version) not in self._rows and len(self._rows) < _MOST_ROWS:
                self._append(model, version, {})
            row = self._rows.get((model, version))
        return self.other if row is None else row.counts

    def tell(self, model: str, version: str, about: dict[str, str]) -> None:
        """Set the further labels of a version with a row."""
        with self._lock:
            row = self._rows.get((model, version))
            if row is not None and row.about != about:
                self._append(model, version, about)

    def name_of(self, counts: Counts) -> tuple[str, str]:
        """Return the model and version of a row. For numbers outside this table, return the name of `other`."""
        return next(((row.model, row.version) for row in self.rows() if row.counts is counts), (OTHER, ""))

    def rows(self) -> list[TableRow]:
        """Return all rows."""
        with self._lock:
            self._read_names()
            return list(self._rows.values())

    def close(self) -> None:
        """Close the descriptor. The memory is released with the table."""
        os.close(self.descriptor)

    def _append(self, model: str, version: str, about: dict[str, str]) -> None:
        """Append a name if there is room. Writes the line first, then the new end. The caller must hold the lock."""
        line = json.dumps([model, version, about]).encode() + b"\n"
        end = self._read_to + len(line)
        if end <= _ROWS_START:
            self._memory[self._read_to : end] = line
            self._numbers[1] = end
            self._read_names()

    def _read_names(self) -> None:
        """Read the names appended since the last call. The caller must hold the lock."""
        end = int(self._numbers[1])
        for line in self._memory[self._read_to : end].splitlines():
            model, version, about = json.loads(line)
            known = self._rows.get((model, version))
            start = _ROWS_START // 8 + len(self._rows) * PLACES
            counts = self._numbers[start : start + PLACES] if known is None else known.counts
            self._rows[model, version] = TableRow(model, version, about, counts)
        self._read_to = end


E = TypeVar("E", bound=ServeError)


def count_refusal(error: E, *, is_http: bool = False) -> E:
    """Count an error sent to a caller, once, by its reason and the version recorded in it. Thread-safe."""
    counts = error.counts
    if counts is None:
        counts = used_table().other
    with ADDING:
        counts[refusal_place(error, is_http=is_http)] += 1
        counts[REFUSED_AFTER_RUN] += error.is_after_run
    return error


def count_http_answer(counts: "Counts | None") -> None:
    """Count a response sent over HTTP, with the version that ran it. It has already been counted as answered."""
    if counts is not None:
        with ADDING:
            counts[HTTP_ANSWERED] += 1


def count_in_process(place: int, number: float = 1.0) -> None:
    """Add to a number of the process. Thread-safe."""
    process = used_table().process
    with ADDING:
        process[place] += number


class _Answering(threading.local):
    """The response in progress on this thread."""

    counts: "Counts | None" = None  # of the version that ran the request
    run_seconds = 0.0
    unsent = 0  # responses so far that could not be sent and became errors


answering = _Answering()
"""A call doesn't know the model of a response that exceeds the byte budget. This lets it count the refusal for that
model."""


def after_run(error: E) -> E:
    """Record that an error replaces a response of this thread's current batch."""
    error.of(answering.counts, is_after_run=True)
    error.run_seconds = answering.run_seconds
    answering.unsent += 1
    return error


def private_counts() -> Counts:
    """Return counts that belong to no table."""
    return memoryview(bytearray(8 * PLACES)).cast("d")


_used: list[CountTable] = []


def use_table(table: CountTable) -> None:
    """Make this process add to `table`. Call it before anything is counted."""
    _used[:] = [table]


def used_table() -> CountTable:
    """Return the table that this process adds to, created at the first call."""
    if not _used:
        with ADDING:
            if not _used:
                _used.append(CountTable())
    return _used[0]
