"""Importing torch and onnx without the garbage collector, which takes a quarter of the time of these imports.

They make 350,000 objects that live as long as the process. The collector looks at them again and again while they are
made, and in every full collection afterwards. For commands, whose process is their own: a library leaves the collector
of its caller's process alone.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator

__all__ = ["lasting_imports"]


@contextlib.contextmanager
def lasting_imports(largest: str = "torch") -> Iterator[None]:
    """Pause the garbage collector in the context; afterwards it passes over all objects that are there.

    Args:
        largest: Name of the module that the imports are about; where it is there already, nothing changes.
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
