"""Functions that `torch.jit.script` has compiled: during a capture, the Python functions that they were made of run.

What is compiled unrolls its loops in a capture, for the number of steps of the sample.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["python_of", "run_as_python"]


def python_of(value: Any) -> Any:  # noqa: ANN401 - whatever a class or a module holds
    """Give the Python function that a scripted one was made of.

    Anything else stays as it is; so does what was traced, and what asks whether it is scripted.
    """
    if not isinstance(value, torch.jit.ScriptFunction):
        return value
    function = getattr(value, "_torchdynamo_inline", None)
    return value if function is None or "is_scripting" in function.__code__.co_names else function


@contextlib.contextmanager
def run_as_python(active: Any) -> Iterator[None]:  # noqa: ANN401 - a function without arguments
    """Run scripted functions as Python in the context.

    Args:
        active: Whether this thread is to; in others they run as they are.
    """
    kind: Any = torch.jit.ScriptFunction
    compiled = kind.__call__

    def call(self: Any, *args: object, **kwargs: object) -> object:  # noqa: ANN401 - a generic class of torch
        function = python_of(self)
        if function is self or not active():
            return compiled(self, *args, **kwargs)
        return function(*args, **kwargs)

    kind.__call__ = call
    try:
        yield
    finally:
        kind.__call__ = compiled
