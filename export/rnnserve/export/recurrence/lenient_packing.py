"""PyTorch's packing functions as servers need them, where a module of another package cannot be edited.

`pack_padded_sequence` refuses rows that are not sorted by length, unless it is told to sort them; the rows of a request
come in any order. `pad_packed_sequence` cuts its result to the longest row, unless it is told the number of steps; a
request may have more steps than its longest row. In a lenient context rows are sorted, and results have the steps of
what was packed: both as if the module had said so. A `PackedSequence` that such a module makes of other values and the
same `batch_sizes` has rows in the same order.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnserve.export.recurrence.argument_types import Argument

__all__ = ["fields", "is_lenient", "lenient", "pack", "pad"]

_STEPS = "_rnnserve_steps"
"""The attribute of `batch_sizes` that holds the number of steps; recurrent layers pass that tensor on."""

_INDICES = "_rnnserve_indices"
"""The attribute of `batch_sizes` that holds how rows were sorted, where the module says that they are sorted."""

_thread = threading.local()


def is_lenient() -> bool:
    """Whether this thread is in a lenient context."""
    return getattr(_thread, "depth", 0) > 0


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """Pack and unpack leniently in this thread, where the functions of torch are exchanged: `interception`."""
    _thread.depth = getattr(_thread, "depth", 0) + 1
    try:
        yield
    finally:
        _thread.depth -= 1


def pack(original: Any, input: Tensor, lengths: Argument, batch_first: bool, enforce_sorted: bool) -> PackedSequence:  # noqa: ANN401
    """Pack rows in any order, by torch's own function."""
    packed: PackedSequence = original(input, lengths, batch_first, False)
    setattr(packed.batch_sizes, _STEPS, input.shape[1 if batch_first else 0])
    if enforce_sorted:
        setattr(packed.batch_sizes, _INDICES, (packed.sorted_indices, packed.unsorted_indices))
    return packed


def fields(
    original: Any,  # noqa: ANN401 - torch's function
    data: Any,  # noqa: ANN401 - as torch has it
    batch_sizes: Tensor | None,
    sorted_indices: Tensor | None,
    unsorted_indices: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Give the fields of a `PackedSequence`, by torch's own function; rows that were sorted here keep their order."""
    data, sizes, *indices = original(data, batch_sizes, sorted_indices, unsorted_indices)
    if all(each is None for each in indices):
        indices = getattr(sizes, _INDICES, indices)
    return data, sizes, *indices


def pad(
    original: Any,  # noqa: ANN401 - torch's function
    sequence: PackedSequence,
    batch_first: bool,
    padding_value: float,
    total_length: int | None,
) -> tuple[Tensor, Tensor]:
    """Pad to the steps of what was packed, by torch's own function."""
    if total_length is None:
        total_length = getattr(sequence.batch_sizes, _STEPS, None)
    padded: tuple[Tensor, Tensor] = original(sequence, batch_first, padding_value, total_length)
    return padded
