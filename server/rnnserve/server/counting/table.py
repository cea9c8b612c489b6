"""A table of counts: a row for the process, one for what has no model, and one for each version and token.

Its memory outlives the process that counts: a supervisor makes it and passes it to a worker as a descriptor, so it is
complete after a kill, up to the last request. Readers take no lock, because a number is written whole, and names are
only ever appended.
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
"""Numbers of a row (`places`), float64."""

ADDING = threading.Lock()
"""Held while anything is added to this process's table: several models and threads may add to the row of a version."""

OTHER = "other"
"""The model of requests for models that do not serve: clients may ask for any number of names."""

# The memory: `LAYOUT`, the end of the names as a float, the names, and the rows.
_NAMES, _ROWS_START, _MOST_ROWS = 16, 1 << 20, 1024
_BYTES = _ROWS_START + _MOST_ROWS * PLACES * 8


class TableRow(NamedTuple):
    """A row: of a version, of a token, whose name is in place of a version, or of the process, without a name."""

    model: str
    version: str
    about: dict[str, str]  # what else `/metrics` says of the version, by label
    counts: Counts


class CountTable:
    """Counts of one process. Any thread may use it; one process adds rows."""

    def __init__(self, fd: int | None = None) -> None:
        """Make a table, or open another process's. Raises ValueError if that is of a release with another layout."""
        self.descriptor = os.memfd_create("rnnserve-counts") if fd is None else fd
        if fd is None:
            os.ftruncate(self.descriptor, _BYTES)  # takes no memory until it is written to
        self._memory = mmap.mmap(self.descriptor, _BYTES)
        self._numbers = memoryview(self._memory).cast("d")
        if fd is None:
            self._memory[: len(LAYOUT)] = LAYOUT
            self._numbers[1] = _NAMES
        elif self._memory[: len(LAYOUT)] != LAYOUT:
            raise ValueError("this table of counts is of another release")
        self._lock = threading.Lock()
        self._rows: dict[tuple[str, str], TableRow] = {}
        self._read_to = _NAMES
        self.process = self.row("", "")
        self.other = self.row(OTHER, "")

    def row(self, model: str, version: str) -> Counts:
        """The counts of a version, made at the first call; those of `other` if a thousand names fill the table."""
        with self._lock:
            self._read_names()
            if (model, version) not in self._rows and len(self._rows) < _MOST_ROWS:
                self._append(model, version, {})
            row = self._rows.get((model, version))
        return self.other if row is None else row.counts

    def tell(self, model: str, version: str, about: dict[str, str]) -> None:
        """Say more of a version that has a row."""
        with self._lock:
            row = self._rows.get((model, version))
            if row is not None and row.about != about:
                self._append(model, version, about)

    def name_of(self, counts: Counts) -> tuple[str, str]:
        """The model and the version whose row this is; those of `other` for numbers that are no row of this table."""
        return next(((row.model, row.version) for row in self.rows() if row.counts is counts), (OTHER, ""))

    def rows(self) -> list[TableRow]:
        """Every row that there is."""
        with self._lock:
            self._read_names()
            return list(self._rows.values())

    def close(self) -> None:
        """Close the descriptor; the memory goes with the table."""
        os.close(self.descriptor)

    def _append(self, model: str, version: str, about: dict[str, str]) -> None:
        """Write a name, as far as there is room: first the line, and then where the lines end. With the lock."""
        line = json.dumps([model, version, about]).encode() + b"\n"
        end = self._read_to + len(line)
        if end <= _ROWS_START:
            self._memory[self._read_to : end] = line
            self._numbers[1] = end
            self._read_names()

    def _read_names(self) -> None:
        """Read the names that were appended since the last call. With the lock."""
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
    """Count an error that is sent to a caller, once: by its reason, with the version that it notes. On any thread."""
    counts = error.counts
    if counts is None:
        counts = used_table().other
    with ADDING:
        counts[refusal_place(error, is_http=is_http)] += 1
        counts[REFUSED_AFTER_RUN] += error.is_after_run
    return error


def count_http_answer(counts: "Counts | None") -> None:
    """Count an answer that is sent over HTTP, with the version of its run: it is counted as answered already."""
    if counts is not None:
        with ADDING:
            counts[HTTP_ANSWERED] += 1


def count_in_process(place: int, number: float = 1.0) -> None:
    """Add to a number of the process. On any thread."""
    process = used_table().process
    with ADDING:
        process[place] += number


class _Answering(threading.local):
    """What is being answered on this thread."""

    counts: "Counts | None" = None  # numbers of the version whose run it was
    run_seconds = 0.0
    unsent = 0  # answers so far that could not be sent, and were refused


answering = _Answering()
"""A call does not know the model of an answer that cannot be held: this is how the refusal is counted with it."""


def after_run(error: E) -> E:
    """Note that an error takes the place of an answer of the run that is being answered on this thread."""
    error.of(answering.counts, is_after_run=True)
    error.run_seconds = answering.run_seconds
    answering.unsent += 1
    return error


def private_counts() -> Counts:
    """Counts that no table has."""
    return memoryview(bytearray(8 * PLACES)).cast("d")


_used: list[CountTable] = []


def use_table(table: CountTable) -> None:
    """Have this process add to a table. Before anything is counted."""
    _used[:] = [table]


def used_table() -> CountTable:
    """The table that this process adds to, made at the first call."""
    if not _used:
        with ADDING:
            if not _used:
                _used.append(CountTable())
    return _used[0]
