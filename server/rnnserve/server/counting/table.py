"""A table of counts: a row for the process, one for what has no model, and one for each version.

It lies in memory that a supervisor can give to a worker as a descriptor: what a process has counted is there after it
was killed, to the last request. No reader locks: a number is written whole.
"""

import contextlib
import json
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias, TypeVar

from rnnserve.server.counting.places import HTTP_ANSWERED, LAYOUT, PLACES, REFUSED_AFTER_RUN, refusal_place
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
    "refusals_counted",
    "use_table",
    "used_table",
]

Counts: TypeAlias = "memoryview[float]"
"""Numbers of a row (places), float64."""

ADDING = threading.Lock()
"""Held while anything is added to this process's table: a version's numbers are those of all models that it has been
loaded as, and of all threads that run them."""

OTHER = "other"
"""The model of requests for models that do not serve: their names are their clients', of which there may be any."""

_HEAD = 4096
_NAME_BYTES = 768
_ROW_BYTES = _NAME_BYTES + 8 * PLACES
_ROWS = 1024


class TableRow(NamedTuple):
    """What a table says of a version, or of the process, which has no name.

    Attributes:
        model: Its name.
        version: Its number, as text.
        about: What else there is to tell, by key.
        counts: Its numbers (places), float64.
    """

    model: str
    version: str
    about: dict[str, str]
    counts: Counts


class CountTable:
    """Counts of one process."""

    def __init__(self, fd: int | None = None) -> None:
        """Open a table, or make one.

        Args:
            fd: Descriptor that another process has got from `descriptor`; None makes a table. It stays open.

        Raises:
            ValueError: If another release has made it, with other places.
        """
        is_new = fd is None
        size = _HEAD + _ROWS * _ROW_BYTES
        if is_new:
            fd = os.memfd_create("rnnserve-counts")
            os.ftruncate(fd, size)  # takes no memory until it is written to
        assert fd is not None  # noqa: S101 - for the type checker
        self._fd = fd if is_new else None
        if os.fstat(fd).st_size != size:
            raise ValueError("this table of counts is of another release")
        self._memory = mmap.mmap(fd, size)
        if is_new:
            self._memory[: len(LAYOUT)] = LAYOUT
        elif self._memory[: len(LAYOUT)] != LAYOUT:
            raise ValueError("this table of counts is of another release")
        self._view = memoryview(self._memory)
        self._lock = threading.Lock()
        self._read: dict[int, tuple[bytes, str, str, dict[str, str]]] = {}  # by row, what its name means
        self._by_name: dict[tuple[str, str], int] = {}
        self._views: dict[int, Counts] = {}
        for at, row in enumerate(self.rows()):
            self._by_name[row.model, row.version] = at
        self.process = self.row("", "")
        self.other = self.row(OTHER, "")

    @property
    def descriptor(self) -> int:
        """The descriptor of the memory, to be given to another process."""
        if self._fd is None:
            raise ValueError("this table is another process's")
        return self._fd

    def row(self, model: str, version: str) -> Counts:
        """The counts of a version, made at the first call.

        Where the table is full, those of what has no model: a repository has changed its names a thousand times.
        """
        with self._lock:
            at = self._by_name.get((model, version))
            if at is None:
                name = json.dumps([model, version, {}]).encode()
                if len(self._by_name) >= _ROWS or len(name) > _NAME_BYTES:
                    return self.other
                at = self._by_name[model, version] = len(self._by_name)
                start = _HEAD + at * _ROW_BYTES
                self._memory[start : start + len(name)] = name
            if at not in self._views:
                self._views[at] = self._counts(at)
            return self._views[at]

    def name_of(self, counts: Counts) -> tuple[str, str]:
        """Give the model and the version whose row this is; those of `other` for numbers that are no row of it."""
        with self._lock:
            for (model, version), at in self._by_name.items():
                if self._views.get(at) is counts:
                    return model, version
        return OTHER, ""

    def tell(self, model: str, version: str, about: dict[str, str]) -> None:
        """Say more of a version that has a row, as far as there is room."""
        with self._lock:
            at = self._by_name.get((model, version))
            name = json.dumps([model, version, about]).encode()
            if at is not None and len(name) <= _NAME_BYTES:
                start = _HEAD + at * _ROW_BYTES
                self._memory[start : start + _NAME_BYTES] = name.ljust(_NAME_BYTES, b"\0")

    def rows(self) -> Iterator[TableRow]:
        """What it says, row by row."""
        for at in range(_ROWS):
            name = self._name(at)
            if not name:
                return
            known = self._read.get(at)
            if known is None or known[0] != name:
                known = self._read[at] = name, *json.loads(name)
            _, model, version, about = known
            yield TableRow(model, version, about, self._counts(at))

    def close(self) -> None:
        """Give back the descriptor; the memory goes with the table."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _name(self, at: int) -> bytes:
        """A row's name, written whole: it is read again while its process writes it."""
        start = _HEAD + at * _ROW_BYTES
        while True:
            name = self._memory[start : start + _NAME_BYTES]
            if name == self._memory[start : start + _NAME_BYTES] and (not name[0] or name.rstrip(b"\0")[-1:] == b"]"):
                return name.rstrip(b"\0")

    def _counts(self, at: int) -> Counts:
        start = _HEAD + at * _ROW_BYTES + _NAME_BYTES
        return self._view[start : start + 8 * PLACES].cast("d")


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
    """What is being answered on this thread.

    Attributes:
        counts: Numbers of the version whose run it was; None before the first.
        run_seconds: Seconds of this run.
        unsent: How many answers could not be sent on this thread, and were refused.
    """

    counts: "Counts | None" = None
    run_seconds = 0.0
    unsent = 0


answering = _Answering()
"""So that an answer that cannot be held is counted as refused, with its model: a call does not know which it is."""


def after_run(error: E) -> E:
    """Note that an error takes the place of an answer of the run that is being answered on this thread."""
    error.of(answering.counts, is_after_run=True)
    error.run_seconds = answering.run_seconds
    answering.unsent += 1
    return error


@contextlib.contextmanager
def refusals_counted(is_http: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Count an error that leaves the block: its caller is told of it.

    Args:
        is_http: A function that says whether the request came over HTTP.
    """
    try:
        yield
    except ServeError as error:
        count_refusal(error, is_http=is_http())
        raise


def private_counts() -> Counts:
    """Counts that no table has."""
    return memoryview(bytearray(8 * PLACES)).cast("d")


_used: list[CountTable] = []
_using = threading.Lock()


def use_table(table: CountTable) -> None:
    """Have this process add to a table. Before anything is counted."""
    with _using:
        _used[:] = [table]


def used_table() -> CountTable:
    """The table that this process adds to."""
    with _using:
        if not _used:
            _used.append(CountTable())
        return _used[0]
