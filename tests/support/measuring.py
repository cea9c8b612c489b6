"""Which cases of a test are measured by coverage: those that may still add to it.

With coverage's tracer an export takes twice its time, since torch, onnx and sympy are Python, too. A test that is asked
for dozens of operators or modules executes something new in the first of them. So once some cases in a row have added
nothing, the cases that are left run without the tracer. What they check is the same.

The processes that a publication starts are the server's trial, which the server's own tests measure.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import coverage

__all__ = ["AREAS", "Additions", "measure_children", "unmeasured"]

AREAS = ("tests/export/", "tests/end_to_end/test_delicate_modules.py")
"""Beginnings of the ids of tests that export one module after the other, in their own process."""

ENOUGH = 3
"""Cases in a row that add nothing, after which the rest of a test's cases add nothing either."""

_CHILDREN = "COVERAGE_PROCESS_CONFIG"
"""Variable of the environment by which coverage measures the processes that are started."""

_children = os.environ.get(_CHILDREN)


class Additions:
    """What the cases of each test have added, in the order in which they run."""

    def __init__(self, enough: int = ENOUGH) -> None:
        self._enough = enough
        self._in_vain: defaultdict[str, int] = defaultdict(int)

    def may_come(self, test: str) -> bool:
        """Whether the next case of a test, whose id may have parameters, is worth to be measured."""
        return self._in_vain[_function(test)] < self._enough

    def note(self, test: str, added: int) -> None:
        """Note what a case that was measured has added, in pairs of lines."""
        self._in_vain[_function(test)] = 0 if added else self._in_vain[_function(test)] + 1


def _function(test: str) -> str:
    return test.partition("[")[0]


_additions = Additions()


def unmeasured(test: str) -> Iterator[None]:
    """Run a test's case, with coverage where it may add something: for a hook that wraps the call.

    The tracer counts frames, so it is set back in the frame in which it was taken away: that of this generator.
    """
    tracer, measured = sys.gettrace(), coverage.Coverage.current()
    if tracer is None or measured is None or not test.startswith(AREAS):
        return (yield)
    if not _additions.may_come(test):
        sys.settrace(None)
        try:
            return (yield)
        finally:
            sys.settrace(tracer)
    before = _pairs(measured)
    try:
        return (yield)
    finally:
        _additions.note(test, _pairs(measured) - before)


def _pairs(measured: Any) -> int:
    """Number of pairs of lines that have run, one after the other, in this process."""
    return sum(map(len, measured._collector.data.values()))


def measure_children(test: str, *, starts_some: bool) -> None:
    """Let coverage measure the processes that a test starts, unless publications alone start them.

    Args:
        test: The test's id.
        starts_some: Whether the test's own file starts processes.
    """
    if _children is not None:
        if starts_some or not test.startswith(AREAS):
            os.environ[_CHILDREN] = _children
        else:
            os.environ.pop(_CHILDREN, None)
