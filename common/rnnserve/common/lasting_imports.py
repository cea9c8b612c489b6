"""Reduce garbage collections while torch and onnx are imported (a quarter of the import time) and used.

The imports create 350,000 objects that live as long as the process. The collector would scan them repeatedly during the
imports and in every full collection afterwards. Use this only in commands, which own their process: a library must not
change the collector of its caller's process.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator

__all__ = ["lasting_imports", "rare_collections"]

_RARE = (50_000, 20, 100)
"""Thresholds of the three generations: new objects, then collections of the younger generation. Default 700, 10, 10."""


@contextlib.contextmanager
def lasting_imports(largest: str = "torch") -> Iterator[None]:
    """Pause the garbage collector in this context. Afterwards, it skips all objects that already exist.

    Changes nothing if the module `largest` has already been imported.
    """
    if largest in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Collect garbage less often in this context: torch's exporter and tracing create many long-lived objects."""
    before = gc.get_threshold()
    if 0 < before[0] < _RARE[0]:  # 0: the collector is off
        gc.set_threshold(*_RARE)
    try:
        yield
    finally:
        gc.set_threshold(*before)
