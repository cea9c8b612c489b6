"""Replacing the code of PyTorch's recurrent modules, packing functions and embedding_bag during a capture.

A user's file refers to `pack_padded_sequence` by name, in a closure, a partial or a default argument; replacing the
attribute of `torch.nn.utils.rnn` reaches none of these. So the function object stays and its code is exchanged: every
reference to it runs our code, until the original code is restored.

The exchanged code checks whether this thread is capturing. If not, it runs PyTorch's own code, so other threads are
only some microseconds slower. A thread that reads the *source* of these functions meanwhile, as `torch.jit.script`
does, would read ours; so `rnnserve.export.script` waits for the lock.
"""

import contextlib
import functools
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any, cast

from torch import nn
from torch.nn.utils import rnn

from rnnserve.export.recurrence import capture_session, embedding_bags, lenient_packing, packing, recurrent_modules
from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.padded_sequence import packed_fields

__all__ = ["LOCK", "intercepted", "route"]

# Held while a module is exported. Reentrant: an export captures the module and runs it again, each with exchanged code.
LOCK = threading.RLock()


# The stubs have the signatures of what they replace, since torch.export reads the signature of the module that it
# captures. They run with torch's globals, so they import what they need.
def _rnn_forward(self: Argument, input: Argument, hx: Argument = None) -> Argument:
    from rnnserve.export.recurrence.interception import route

    return route("RNN.forward", self, input, hx)


def _gru_forward(self: Argument, input: Argument, hx: Argument = None) -> Argument:
    from rnnserve.export.recurrence.interception import route

    return route("GRU.forward", self, input, hx)


def _lstm_forward(self: Argument, input: Argument, hx: Argument = None) -> Argument:
    from rnnserve.export.recurrence.interception import route

    return route("LSTM.forward", self, input, hx)


def _pack(input: Argument, lengths: Argument, batch_first: bool = False, enforce_sorted: bool = True) -> Argument:
    from rnnserve.export.recurrence.interception import route

    return route("pack_padded_sequence", input, lengths, batch_first, enforce_sorted)


def _pad(
    sequence: Argument, batch_first: bool = False, padding_value: float = 0.0, total_length: Argument = None
) -> Argument:
    from rnnserve.export.recurrence.interception import route

    return route("pad_packed_sequence", sequence, batch_first, padding_value, total_length)


def _fields(
    data: Argument, batch_sizes: Argument = None, sorted_indices: Argument = None, unsorted_indices: Argument = None
) -> Argument:
    from rnnserve.export.recurrence.interception import route

    return route("packed_fields", data, batch_sizes, sorted_indices, unsorted_indices)


def _pack_list(sequences: Argument, enforce_sorted: bool = True) -> Argument:
    from rnnserve.export.recurrence.interception import route

    return route("pack_sequence", sequences, enforce_sorted)


def _unpack_list(packed_sequences: Argument) -> Argument:
    from rnnserve.export.recurrence.interception import route

    return route("unpack_sequence", packed_sequences)


def _unpad_list(padded_sequences: Argument, lengths: Argument, batch_first: bool = False) -> Argument:
    from rnnserve.export.recurrence.interception import route

    return route("unpad_sequence", padded_sequences, lengths, batch_first)


def _bag(
    input: Argument,
    weight: Argument,
    offsets: Argument = None,
    max_norm: Argument = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Argument = None,
    include_last_offset: bool = False,
    padding_idx: Argument = None,
) -> Argument:
    from rnnserve.export.recurrence.interception import route

    return route(
        "embedding_bag",
        *(input, weight, offsets, max_norm, norm_type, scale_grad_by_freq),
        *(mode, sparse, per_sample_weights, include_last_offset, padding_idx),
    )


class _Exchange:
    """One function of PyTorch: its own code under another name, the stub's code, and our replacements.

    Args:
        function: Function of PyTorch.
        stub: Function whose code stands in it.
        replacement: Function that runs in a capture.
        lenient: Function that runs elsewhere in a lenient context, with PyTorch's own as a further argument.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        stub: Callable[..., Any],
        replacement: Callable[..., Any],
        lenient: Callable[..., Any] | None = None,
    ) -> None:
        self.function = cast(types.FunctionType, function)
        self.code = self.function.__code__
        self.original = types.FunctionType(
            self.code, self.function.__globals__, self.function.__name__, self.function.__defaults__
        )
        self.stub = cast(types.FunctionType, stub).__code__
        self.replacement = replacement
        self.lenient = self.original if lenient is None else functools.partial(lenient, self.original)


_EXCHANGES = {
    "RNN.forward": _Exchange(nn.RNN.forward, _rnn_forward, recurrent_modules.forward),
    "GRU.forward": _Exchange(nn.GRU.forward, _gru_forward, recurrent_modules.forward),
    "LSTM.forward": _Exchange(nn.LSTM.forward, _lstm_forward, recurrent_modules.forward),
    "pack_padded_sequence": _Exchange(
        rnn.pack_padded_sequence, _pack, packing.pack_padded_sequence, lenient_packing.pack
    ),
    "pad_packed_sequence": _Exchange(rnn.pad_packed_sequence, _pad, packing.pad_packed_sequence, lenient_packing.pad),
    "packed_fields": _Exchange(
        rnn._packed_sequence_init_args,  # noqa: SLF001 - what the constructor of PackedSequence calls
        _fields,
        packed_fields,
        lenient_packing.fields,
    ),
    "pack_sequence": _Exchange(rnn.pack_sequence, _pack_list, packing.pack_sequence),
    "unpack_sequence": _Exchange(rnn.unpack_sequence, _unpack_list, packing.unpack_sequence),
    "embedding_bag": _Exchange(nn.functional.embedding_bag, _bag, embedding_bags.embedding_bag),
    "unpad_sequence": _Exchange(rnn.unpad_sequence, _unpad_list, packing.unpad_sequence),
}
_depth = 0


def route(name: str, *arguments: Argument) -> Argument:
    """Run our replacement in the thread that captures, and PyTorch's own code in every other thread."""
    exchange = _EXCHANGES[name]
    if capture_session.active():
        return exchange.replacement(*arguments)
    return (exchange.lenient if lenient_packing.is_lenient() else exchange.original)(*arguments)


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
