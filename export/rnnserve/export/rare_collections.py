"""Fewer garbage collections while many objects are made that live on: imports of torch's exporter, and traces.

Imports neither torch nor the rest of `rnnserve.export`.
"""

import contextlib
import gc
from collections.abc import Iterator

__all__ = ["rare_collections"]

_THRESHOLDS = (50_000, 20, 100)
"""New objects between collections, and collections between those of older objects: by default 700, 10 and 10."""


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Collect garbage less often in the context, and as before after it."""
    before = gc.get_threshold()
    if 0 < before[0] < _THRESHOLDS[0]:  # 0: the process collects none
        gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
