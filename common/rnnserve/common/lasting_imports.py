"""Fewer garbage collections while torch and onnx are imported, of whose time they take a quarter, and used.

They make 350,000 objects that live as long as the process. The collector looks at them again and again while they are
made, and in every full collection afterwards. For commands, whose process is their own: a library leaves the collector
of its caller's process alone.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator

__all__ = ["lasting_imports", "rare_collections"]

_RARE = (50_000, 20, 100)
"""New objects between collections, and collections between those of older objects: by default 700, 10 and 10."""


@contextlib.contextmanager
def lasting_imports(largest: str = "torch") -> Iterator[None]:
    """Pause the garbage collector in the context. Afterwards it skips all objects that exist then.

    Nothing changes if the module `largest` has been imported already.
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
    """Collect garbage less often in the context: imports of torch's exporter, and traces, make objects that live on."""
    before = gc.get_threshold()
    if 0 < before[0] < _RARE[0]:  # 0: the process collects none
        gc.set_threshold(*_RARE)
    try:
        yield
    finally:
        gc.set_threshold(*before)
