"""Coverage that does not follow pytest itself: not its rewriting of tests, nor what it does around each of them.

It goes on in tests and in fixtures, to their ends. Between them pytest goes through all its plugins, and through all
loggers, of which torch has 300: where tests are short, that took half as long as they did.
"""

from collections.abc import Callable
from typing import Any

import _pytest.assertion.rewrite
import _pytest.fixtures
import _pytest.runner
import pytest

from support.torch_unmeasured import paused, resumed

__all__ = ["go_on_in", "leave_out"]

_EXCHANGED = (
    (_pytest.assertion.rewrite, "_rewrite_test", paused),
    (_pytest.runner, "runtestprotocol", paused),
    (_pytest.fixtures, "call_fixture_func", resumed),
    (_pytest.fixtures, "_teardown_yield_fixture", resumed),
)


def leave_out() -> None:
    """Exchange pytest's functions for the rest of the process."""
    for module, name, exchanged in _EXCHANGED:
        setattr(module, name, exchanged(getattr(module, name)))
    requests: tuple[Any, ...] = (_pytest.fixtures.SubRequest, _pytest.fixtures.TopRequest)
    for request in requests:
        request.addfinalizer = _adding(request.addfinalizer)


def go_on_in(item: pytest.Item) -> None:
    """Have the tracer go on in the function of a test, which pytest is about to call."""
    function: Any = item
    function.obj = resumed(function.obj)


def _adding(add: Callable[[Any, Callable[[], object]], None]) -> Callable[[Any, Callable[[], object]], None]:
    def adding(self: Any, finalizer: Callable[[], object]) -> None:
        add(self, resumed(finalizer))

    return adding
