"""PyTorch's packing functions during a capture: a packed sequence stays padded, with its lengths.

PyTorch's packed sequence is sorted and ragged, and no ONNX operator reads that form. ONNX's recurrent operators take
the padded tensor and the lengths instead, and give zeros after each row's length. So `pack_padded_sequence` keeps both,
and `pad_packed_sequence` returns what eager returns: trimmed to the longest row, or padded to `total_length`.
"""

from typing import NoReturn

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn.utils.rnn import PackedSequence

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.lenient_packing import is_lenient
from rnnserve.export.recurrence.longest_rows import RowLengths
from rnnserve.export.recurrence.padded_sequence import PaddedSequence, set_after_lengths
from rnnserve.export.recurrence.trim_operator import TRIM

__all__ = [
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


def pack_padded_sequence(
    input: Tensor, lengths: Argument, batch_first: bool = False, enforce_sorted: bool = True
) -> PaddedSequence:
    """Keep the padded tensor and its lengths.

    Args:
        input: (batch, sequence, …) where `batch_first`, else (sequence, batch, …).
        lengths: (batch,) of integers: a tensor that depends on the module's inputs. A list becomes a constant of the
            file, which is only right where the batch has a fixed size.
        batch_first: Order of the axes, as in PyTorch.
        enforce_sorted: Eager refuses unsorted lengths where it is True. An export has no values to check, and rows keep
            their order in either case, so the exported module takes any order. Where it is True, a `PackedSequence` of
            other values needs no indices, as in eager.

    Raises:
        UnsupportedModule: If lengths are constants although the batch is dynamic, or have the wrong rank or dtype.
    """
    if input.dim() < 2:
        raise UnsupportedModule(
            f"pack_padded_sequence got an input of {input.dim()} axes; expected (batch, sequence, ...) or, without "
            "batch_first, (sequence, batch, ...)"
        )
    steps = input.transpose(0, 1) if batch_first else input
    rows = steps.shape[1]
    if isinstance(lengths, RowLengths):
        lengths = lengths.tensor
    if not isinstance(lengths, Tensor):
        if not (isinstance(rows, int) and all(isinstance(length, int) for length in lengths)):
            raise UnsupportedModule(
                f"pack_padded_sequence got its lengths as a {type(lengths).__name__}, not as a tensor. They would be "
                "constants of the file, wrong for every other batch. Take `lengths`, an int64 tensor (batch,), as an "
                "input of the module, and pass that tensor on as it is (no .tolist())."
            )
        lengths = torch.tensor(lengths, dtype=torch.int64)
    if lengths.dim() != 1:
        raise UnsupportedModule(
            f"pack_padded_sequence got lengths of shape {tuple(lengths.shape)}; expected (batch,), one length a row"
        )
    if lengths.is_floating_point() or lengths.is_complex():
        raise UnsupportedModule(f"pack_padded_sequence got lengths of dtype {lengths.dtype}; expected int64")
    if isinstance(lengths.shape[0], int) and not isinstance(rows, int):
        raise UnsupportedModule(
            f"pack_padded_sequence got lengths (batch,) of the fixed size {lengths.shape[0]} with an input whose batch "
            "axis is dynamic. Lengths that do not come from the module's inputs are right for one batch only: take "
            "`lengths`, an int64 tensor (batch,), as an input, and give its axis the name of the batch axis."
        )
    if lengths.shape[0] != rows:
        expected = "(batch, sequence, ...)" if batch_first else "(sequence, batch, ...)"
        raise UnsupportedModule(
            f"pack_padded_sequence got {lengths.shape[0]} lengths for a batch of {rows} rows; expected lengths "
            f"(batch,) and an input {expected}. Is batch_first as it should be?"
        )
    # A cast to the same type would be an operator of the captured program.
    lengths = lengths if lengths.dtype == torch.int64 else lengths.to(torch.int64)
    return PaddedSequence(steps, lengths, zero_padded=False, is_sorted=enforce_sorted)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the padded tensor and its lengths, of the size and with the padding of eager.

    Args:
        sequence: Result of `pack_padded_sequence` or of a recurrent module, or made of values computed of such a one's.
        batch_first: Order of the axes, as in PyTorch.
        padding_value: The value after each row's length.
        total_length: The size of the sequence axis; None is the longest length, known at run time only, and in a
            lenient context the size of the axis that was packed. Eager refuses a
            `total_length` below the longest length; the exported module cuts, since it does not check values.

    Returns:
        (batch, sequence, …) where `batch_first`, else (sequence, batch, …); and the lengths, (batch,) int64.

    Raises:
        UnsupportedModule: If the sequence was packed outside the module's forward, or its indices are lost.
    """
    packed = PaddedSequence.of(sequence)
    if packed is None:
        raise UnsupportedModule(
            f"pad_packed_sequence got a {type(sequence).__name__} that was not made by pack_padded_sequence within the "
            "module's forward; build it there, from the padded tensor and its lengths"
        )
    steps, lengths = packed.steps, packed.row_lengths
    if total_length is not None and not statically_known_true(total_length == steps.shape[0]):
        # Pad by total_length, then cut to it: right whether it is longer or shorter than the steps.
        padding = [0, 0] * (steps.dim() - 1) + [0, total_length]
        steps = torch.nn.functional.pad(steps, padding)[:total_length]
    if padding_value != 0 or not packed.zero_padded:
        steps = set_after_lengths(steps, lengths, padding_value)
    if total_length is None and not is_lenient():
        steps = TRIM(steps, lengths)
    return (steps.transpose(0, 1) if batch_first else steps), lengths


def pack_sequence(sequences: Argument, enforce_sorted: bool = True) -> NoReturn:
    """Refuse: a list of rows has a fixed number of rows, each of a fixed size."""
    del sequences, enforce_sorted
    _refuse_lists("pack_sequence", "pack_padded_sequence on the padded tensor (batch, sequence, ...) with its lengths")


def unpack_sequence(packed_sequences: Argument) -> NoReturn:
    """Refuse: a list of rows has a fixed number of rows, each of a fixed size."""
    del packed_sequences
    _refuse_lists("unpack_sequence", "pad_packed_sequence, and cut the rows outside the module")


def unpad_sequence(padded_sequences: Argument, lengths: Argument, batch_first: bool = False) -> NoReturn:
    """Refuse: a list of rows has a fixed number of rows, each of a fixed size."""
    del padded_sequences, lengths, batch_first
    _refuse_lists("unpad_sequence", "the padded tensor and its lengths, and cut the rows outside the module")


def _refuse_lists(name: str, instead: str) -> NoReturn:
    raise UnsupportedModule(
        f"the module calls {name}, which works on a Python list with one tensor a row: the number of rows and their "
        f"lengths would be constants of the file. Use {instead}."
    )
