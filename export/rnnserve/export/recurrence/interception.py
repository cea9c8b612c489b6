"""Replacing the code of PyTorch's recurrent modules and packing functions during a capture.

A user's file refers to `pack_padded_sequence` by name, in a closure, a partial or a default argument; replacing the
attribute of `torch.nn.utils.rnn` reaches none of these, and they are functions of Python that no mode of torch sees. So
the function object stays and its code is exchanged: every reference to it runs our code, until the original code is
restored. What a mode of torch sees is in `function_stand_ins`.

The exchanged code checks whether this thread is capturing. If not, it runs PyTorch's own code, so other threads are
only some microseconds slower. A thread that reads the *source* of these functions meanwhile, as `torch.jit.script`
does, would read ours; so `rnnserve.export.script` waits for the lock.
"""

import contextlib
import functools
import inspect
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, cast

from torch import nn
from torch.nn.utils import rnn

from rnnserve.export.recurrence import capture_session, packing, recurrent_layers
from rnnserve.export.recurrence.dynamic_axes import Argument
from rnnserve.export.torch_adapter import packed_fields

__all__ = ["LOCK", "intercepted", "route"]

# Held while a module is exported. Reentrant: an export captures the module and runs it again, each with exchanged code.
LOCK = threading.RLock()


class _Exchange:
    """One function of PyTorch: its own code under another name, the code that stands in it, and our replacements.

    Args:
        name: Name of the function here.
        function: Function of PyTorch.
        replacement: Function that runs in a capture; None for the function itself.
        lenient: Function that runs elsewhere in a lenient context, with PyTorch's own as its first argument.
    """

    def __init__(
        self,
        name: str,
        function: object,
        replacement: Callable[..., Any] | None,
        lenient: Callable[..., Any] | None = None,
    ) -> None:
        self.function = cast(types.FunctionType, function)
        self.code = self.function.__code__
        self.original = types.FunctionType(
            self.code, self.function.__globals__, self.function.__name__, self.function.__defaults__
        )
        self.stub = _stub(name, self.function)
        self.replacement = replacement or self.original
        self.lenient = self.original if lenient is None else functools.partial(lenient, self.original)


def _stub(name: str, function: types.FunctionType) -> types.CodeType:
    """Make code that calls `route`, of the same signature, which torch.export reads of the module that it captures.

    It runs with torch's globals, so it imports what it needs.
    """
    parameters = ", ".join(inspect.signature(function).parameters)
    lines = (
        f"def stub({parameters}):",
        f"    from {__name__} import route",
        f"    return route({name!r}, {parameters})",
    )
    made: dict[str, Any] = {}
    exec(compile("\n".join(lines), __file__, "exec"), made)  # noqa: S102 - of the names above
    code: types.CodeType = made["stub"].__code__
    return code


_EXCHANGES = {
    "RNN.forward": _Exchange("RNN.forward", nn.RNN.forward, recurrent_layers.forward),
    "GRU.forward": _Exchange("GRU.forward", nn.GRU.forward, recurrent_layers.forward),
    "LSTM.forward": _Exchange("LSTM.forward", nn.LSTM.forward, recurrent_layers.forward),
    "pack": _Exchange("pack", rnn.pack_padded_sequence, packing.pack_padded_sequence, packing.pack_leniently),
    "fields": _Exchange("fields", packed_fields, None, packing.fields_leniently),
    "pad": _Exchange("pad", rnn.pad_packed_sequence, packing.pad_packed_sequence, packing.pad_leniently),
}
_depth = 0


def route(name: str, *arguments: Argument) -> Argument:
    """Run our replacement in the thread that captures, and PyTorch's own code in every other thread."""
    exchange = _EXCHANGES[name]
    if capture_session.active():
        return exchange.replacement(*arguments)
    return (exchange.lenient if packing.is_lenient() else exchange.original)(*arguments)


@contextlib.contextmanager
def intercepted() -> Iterator[None]:
    """Exchange the code of PyTorch's functions in the context, and restore it afterwards."""
    global _depth  # of the process, like the code that is exchanged
    with LOCK:
        if _depth == 0:
            for exchange in _EXCHANGES.values():
                exchange.function.__code__ = exchange.stub
        _depth += 1
        try:
            yield
        finally:
            _depth -= 1
            if _depth == 0:
                for exchange in _EXCHANGES.values():
                    exchange.function.__code__ = exchange.code
