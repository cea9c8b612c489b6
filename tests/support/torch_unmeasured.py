"""Coverage that does not follow torch's exporter into its own Python.

With coverage's tracer each call and line of Python costs more, whether it is of this project or not, and an export
runs some 300,000 lines of torch's: that took two fifths of the time of an export that is measured. So the tracer pauses
while torch captures a module, decomposes a program or compiles a script.

What torch calls back of this project's runs again outside of torch, when `size_probing` tries other sizes; the tests
that are about it, in the folders of `FOLLOWED`, are measured within torch, too.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["FOLLOWED", "follow", "leave_out"]

FOLLOWED = ("tests/export/operators/", "tests/export/recurrence/")

_followed = False


def follow(followed: bool) -> None:
    """Say whether the tracer follows torch from now on."""
    global _followed  # of the process, like coverage
    _followed = followed


def leave_out() -> None:
    """Exchange the functions of torch for the rest of the process."""
    import torch.export
    from torch.onnx._internal.exporter import _fx_passes

    for module, name in ((torch.export, "export"), (torch.jit, "script"), (_fx_passes, "decompose_with_registry")):
        setattr(module, name, _paused(getattr(module, name)))


# The tracer counts the frames that it enters and leaves. So it is set back in the frame in which it was taken away, and
# this is no context manager, which has frames of its own.
def _paused(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def paused(*args: Any, **options: Any) -> Any:
        tracer = sys.gettrace()
        if tracer is None or _followed:
            return function(*args, **options)
        sys.settrace(None)
        try:
            return function(*args, **options)
        finally:
            sys.settrace(tracer)

    return paused
