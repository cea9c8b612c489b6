"""`torch.distributions` without its checks of arguments, which depend on values and do nothing but raise.

Where a distribution is told to check, `validate_args=True`, it does, and the module is refused.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch.distributions import Distribution

from rnnserve.export.recurrence import capture_session

__all__ = ["unchecked"]


class _Default:
    """The class's attribute: whether a distribution checks that is not told to."""

    def __init__(self, before: bool) -> None:
        self.left_out: set[str] = set()
        self._before = before

    def __get__(self, instance: object, owner: type) -> bool:
        if not capture_session.active():
            return self._before
        self.left_out.add(owner.__name__)
        return False


@contextlib.contextmanager
def unchecked() -> Iterator[set[str]]:
    """Leave the checks out while this thread captures a module; give the names of the distributions, once it has."""
    kind: Any = Distribution
    before = kind._validate_args  # noqa: SLF001 - as `set_default_validate_args` sets it
    default = _Default(before) if before else None
    if default is not None:
        kind._validate_args = default  # noqa: SLF001
    try:
        yield set() if default is None else default.left_out
    finally:
        kind._validate_args = before  # noqa: SLF001
