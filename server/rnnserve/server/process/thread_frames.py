"""The frames of this process's threads, without a collection of garbage while they are asked for.

CPython 3.11 and 3.12 may collect garbage inside of `sys._current_frames()`, while they hold a lock of the runtime. A
collection that needs the same lock then waits for ever, with the interpreter's lock (python/cpython#106883). A server
with many threads was found so: no thread of it ran any more. Later ones disable the collector there, as is done here.
"""

import gc
import sys
import threading
from types import FrameType

__all__ = ["thread_frames"]

_one_at_a_time = threading.Lock()  # the collector must not be enabled while another thread asks


def thread_frames() -> dict[int, FrameType]:
    """Give the topmost frame of each thread, by its identifier."""
    with _one_at_a_time:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return sys._current_frames()  # noqa: SLF001 - documented, in spite of its name
        finally:
            if was_enabled:
                gc.enable()
