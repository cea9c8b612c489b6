"""PyTorch's packing functions during a capture: a packed sequence stays padded and keeps its lengths.

PyTorch's packed sequence is sorted and ragged. ONNX's recurrent operators take the padded tensor and the lengths, and
return zeros after each row's length. So `pack_padded_sequence` keeps both, and `pad_packed_sequence` returns the same
as eager. Code can't read the fields of such a `PackedSequence`. It can only pass them on to another `PackedSequence`.
Before that, it can apply functions that compute each value of `data` separately, such as dropout. They run on the
padded steps.

Servers need lenient packing, because the rows of a request come in any order, and a request may have more steps than
its longest row. In a lenient context rows are sorted, and results keep the number of steps of the packed tensor, as if
the module had requested both.
"""

import contextlib
import dataclasses
import operator
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch
import torch.nn.functional as F  # noqa: N812 - as PyTorch has it
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn.utils.rnn import PackedSequence

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.dynamic_axes import Argument
from rnnserve.export.recurrence.layer_operators import TRIM
from rnnserve.export.recurrence.longest_rows import RowLengths
from rnnserve.export.torch_adapter import tree_leaves, version_of

__all__ = [
    "PackedField",
    "Padded",
    "fields_leniently",
    "is_lenient",
    "lenient",
    "pack_leniently",
    "pack_padded_sequence",
    "pad_leniently",
    "pad_packed_sequence",
]

_STEPS = "_rnnserve_steps"
"""Attribute of `batch_sizes` with the number of steps. Recurrent layers pass the `batch_sizes` tensor on."""

_INDICES = "_rnnserve_indices"
"""Attribute of `batch_sizes` with the order of the sorted rows, if the module promises that they are sorted."""

_PAD_FIRST = (
    "Pad first: call pad_packed_sequence, compute with the padded tensor, and pack it again with the same lengths."
)

_thread = threading.local()


@dataclasses.dataclass(frozen=True)
class Padded:
    """The padded tensor and the lengths that a `PackedSequence` represents in a captured module."""

    steps: Tensor  # values (sequence, batch, …), padded, with rows in the order of the input
    row_lengths: Tensor  # (batch,) int64
    zero_padded: bool = False  # whether `steps` is known to be zero after each row's length, as in ONNX's results
    is_sorted: bool = False  # whether the module promises rows sorted by length, so that eager has no `sorted_indices`
    versions: tuple[int | None, ...] = ()  # write counts of both tensors, to detect later writes

    def with_steps(self, steps: Tensor, *, zero_padded: bool) -> "Padded":
        """Return other values, (sequence, batch, …), with the same lengths."""
        return Padded(steps, self.row_lengths, zero_padded, self.is_sorted, _versions(steps, self.row_lengths))

    def packed(self) -> PackedSequence:
        """Return the `PackedSequence` that represents these tensors."""
        data, sizes, order, back = (PackedField(name, self) for name in PackedSequence._fields)
        fields: Any = (data, sizes, None, None) if self.is_sorted else (data, sizes, order, back)
        return PackedSequence(*fields)

    @classmethod
    def of(cls, sequence: PackedSequence, name: str) -> "Padded":
        """Return the tensors that a packed sequence represents."""
        fields: Any = tuple(sequence) if isinstance(sequence, PackedSequence) else (None, None)
        data, sizes, *order = fields
        if not isinstance(sizes, PackedField):
            raise UnsupportedModule(
                f"{name} got a {type(sequence).__name__} that was not made by pack_padded_sequence within the module's "
                "forward. Let the module take the padded tensor and `lengths`, and pack them there."
            )
        if not isinstance(data, PackedField):
            raise UnsupportedModule(
                f"{name} got a PackedSequence whose values are not computed from another PackedSequence. Packed "
                f"values are sorted and ragged, and ONNX cannot represent them. {_PAD_FIRST}"
            )
        padded = data.padded
        expected = [None, None] if padded.is_sorted else ["sorted_indices", "unsorted_indices"]
        if not sizes.is_of(padded) or [getattr(each, "name", None) for each in order] != expected:
            raise UnsupportedModule(
                "the module creates a PackedSequence without the sorted_indices and unsorted_indices of its "
                "batch_sizes, so its rows are sorted by length and in the wrong places. Pass the indices on: "
                "PackedSequence(p.data, p.batch_sizes, p.sorted_indices, p.unsorted_indices)."
            )
        if padded.versions != _versions(padded.steps, padded.row_lengths):
            raise UnsupportedModule(
                "the module writes into the argument of pack_padded_sequence, or into the result of "
                "pad_packed_sequence, and then uses the packed sequence. In eager the packed sequence holds a copy, "
                "but in an exported module it holds the tensor itself. Write into another tensor: x = x * 2 instead "
                "of x.mul_(2), or x = x.clone() before."
            )
        return padded


def _versions(*tensors: Tensor) -> tuple[int | None, ...]:
    return tuple(map(version_of, tensors))


class PackedField:
    """Represents a field of a `PackedSequence` in a captured module. Code can pass it on, but can't read it.

    Functions that compute each value of `data` separately run on the padded steps instead.
    """

    def __init__(self, name: str, padded: Padded) -> None:
        self.name, self.padded = name, padded
        self.device = torch.device("cpu") if name == "batch_sizes" else padded.steps.device
        self.dtype = padded.steps.dtype

    def is_of(self, padded: Padded) -> bool:
        """Whether the field belongs to a sequence packed with the same lengths."""
        return self.padded.row_lengths is padded.row_lengths

    def to(self, *args: Argument, **kwargs: Argument) -> "PackedField":
        """Convert the field, as `PackedSequence.to` does."""
        if self.name != "data":
            return self
        steps = self.padded.steps.to(*args, **kwargs)
        return PackedField("data", self.padded.with_steps(steps, zero_padded=self.padded.zero_padded))

    @classmethod
    def __torch_function__(
        cls, func: Argument, types: Argument, args: Argument = (), kwargs: Argument = None
    ) -> "PackedField":
        del types
        field: PackedField = next(each for each in tree_leaves((args, kwargs)) if isinstance(each, cls))
        if field.name != "data" or field is not args[0] or func not in _BY_VALUE:
            field._refuse(f"in {getattr(func, '__name__', func)}")
        computed: PackedField = field._computed(lambda steps: func(steps, *args[1:], **(kwargs or {})))
        return computed

    def _computed(self, compute: Callable[[Tensor], Tensor]) -> "PackedField":
        padded = self.padded
        steps = padded.steps
        if not steps.is_floating_point():  # ids: padding may contain ids that an embedding lacks
            steps = _set_after_lengths(steps, padded.row_lengths, 0)
        return PackedField("data", padded.with_steps(compute(steps), zero_padded=False))

    def _combined(self, compute: Callable[[Any, Any], Tensor], other: object) -> "PackedField":
        """Compute with a number, or with values packed with the same lengths."""
        alike = isinstance(other, PackedField) and self.name == other.name == "data" and self.is_of(other.padded)
        if not alike and not (self.name == "data" and isinstance(other, int | float)):
            self._refuse("or computes with it")
        second = other.padded.steps if isinstance(other, PackedField) else other
        return self._computed(lambda steps: compute(steps, second))

    def __add__(self, other: object) -> "PackedField":
        return self._combined(operator.add, other)

    def __mul__(self, other: object) -> "PackedField":
        return self._combined(operator.mul, other)

    __radd__, __rmul__ = __add__, __mul__

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # Python itself reads these, for example to see whether a copy is possible
            raise AttributeError(name)
        self._refuse(f".{name}")

    def _read(self, *_: object) -> NoReturn:
        self._refuse("or computes with it")

    __iter__ = __getitem__ = __len__ = __bool__ = __int__ = __index__ = __float__ = __eq__ = __lt__ = __gt__ = _read
    __sub__ = __rsub__ = __truediv__ = __rtruediv__ = __matmul__ = __rmatmul__ = __neg__ = __pow__ = _read
    __hash__ = None  # type: ignore[assignment]  # as where only __eq__ is defined

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedModule(
            f"the module reads `{self.name}` of a PackedSequence, {what}. Packed values are sorted and ragged, and "
            "ONNX cannot represent them. You can only pass the field on to another PackedSequence. Before that, you "
            f"can apply dropout, nn.Linear, nn.Embedding, nn.LayerNorm, activations and sums to `data`. {_PAD_FIRST}"
        )


_BY_VALUE = {
    *(F.dropout, F.alpha_dropout, F.feature_alpha_dropout, F.linear, F.embedding, F.layer_norm),
    *(F.elu, F.gelu, F.leaky_relu, F.mish, F.relu, F.relu6, F.selu, F.silu, F.softplus, F.hardtanh, F.logsigmoid),
    *(torch.tanh, torch.sigmoid, torch.relu, torch.abs, torch.exp, torch.log, torch.clamp),
}
"""Functions that compute each result from a single value of the first argument, or from its last axes."""


def pack_padded_sequence(
    input: Tensor, lengths: Argument, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Keep the padded tensor and its lengths."""
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
                f"pack_padded_sequence got its lengths as a {type(lengths).__name__}, expected a tensor. Exported, "
                "they would be constants, wrong for every other batch. Take `lengths`, an int64 tensor (batch,), as "
                "an input of the module, and pass this tensor on unchanged (no .tolist())."
            )
        lengths = torch.tensor(lengths, dtype=torch.int64)
    if lengths.dim() != 1:
        raise UnsupportedModule(
            f"pack_padded_sequence got lengths of shape {tuple(lengths.shape)}; expected (batch,), one length for "
            "each row"
        )
    if lengths.is_floating_point() or lengths.is_complex():
        raise UnsupportedModule(f"pack_padded_sequence got lengths of dtype {lengths.dtype}; expected int64")
    if isinstance(lengths.shape[0], int) and not isinstance(rows, int):
        raise UnsupportedModule(
            f"pack_padded_sequence got lengths (batch,) of the fixed size {lengths.shape[0]} with an input whose "
            "batch axis is dynamic. Lengths that do not come from the module's inputs are correct for only one "
            "batch. Take `lengths`, an int64 tensor (batch,), as an input, and give its axis the name of the batch "
            "axis."
        )
    if lengths.shape[0] != rows:
        expected = "(batch, sequence, ...)" if batch_first else "(sequence, batch, ...)"
        raise UnsupportedModule(
            f"pack_padded_sequence got {lengths.shape[0]} lengths for a batch of {rows} rows; expected lengths "
            f"(batch,) and an input {expected}. Is batch_first correct?"
        )
    # Without the check, a cast to the same type would add an operator to the captured program.
    lengths = lengths if lengths.dtype == torch.int64 else lengths.to(torch.int64)
    return Padded(steps, lengths, False, enforce_sorted, _versions(steps, lengths)).packed()


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the padded tensor and its lengths, with eager's size and padding."""
    padded = Padded.of(sequence, "pad_packed_sequence")
    steps, lengths = padded.steps, padded.row_lengths
    if total_length is not None and not statically_known_true(total_length == steps.shape[0]):
        # Pad by total_length, then cut to it. This works whether total_length is larger or smaller than the steps.
        padding = [0, 0] * (steps.dim() - 1) + [0, total_length]
        steps = F.pad(steps, padding)[:total_length]
    if padding_value != 0 or not padded.zero_padded:
        steps = _set_after_lengths(steps, lengths, padding_value)
    if total_length is None and not is_lenient():
        steps = TRIM(steps, lengths)
    return (steps.transpose(0, 1) if batch_first else steps), lengths


def _set_after_lengths(steps: Tensor, lengths: Tensor, value: float) -> Tensor:
    """Set the padding of steps (sequence, batch, …) to a value. Lengths are (batch,) int64."""
    steps_so_far = torch.arange(steps.shape[0], device=steps.device)
    inside = steps_so_far.unsqueeze(1) < lengths.to(steps.device).unsqueeze(0)  # (sequence, batch)
    inside = inside.reshape(inside.shape + (1,) * (steps.dim() - 2))
    return torch.where(inside, steps, torch.full((), value, dtype=steps.dtype, device=steps.device))


def is_lenient() -> bool:
    """Whether this thread is in a lenient context."""
    return getattr(_thread, "depth", 0) > 0


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """Pack and unpack leniently in this thread while `interception` has exchanged torch's functions."""
    _thread.depth = getattr(_thread, "depth", 0) + 1
    try:
        yield
    finally:
        _thread.depth -= 1


def pack_leniently(
    original: Callable[..., PackedSequence], input: Tensor, lengths: Argument, batch_first: bool, is_sorted: bool
) -> PackedSequence:
    """Pack rows in any order, with torch's own function."""
    packed = original(input, lengths, batch_first, False)
    setattr(packed.batch_sizes, _STEPS, input.shape[1 if batch_first else 0])
    if is_sorted:
        setattr(packed.batch_sizes, _INDICES, (packed.sorted_indices, packed.unsorted_indices))
    return packed


def fields_leniently(original: Callable[..., tuple[Any, ...]], *fields: Argument) -> tuple[Argument, ...]:
    """Return the fields of a `PackedSequence` from torch's own function. Rows sorted here keep their order."""
    data, sizes, *indices = original(*fields)
    if all(each is None for each in indices):
        indices = getattr(sizes, _INDICES, indices)
    return data, sizes, *indices


def pad_leniently(
    original: Callable[..., tuple[Tensor, Tensor]],
    sequence: PackedSequence,
    batch_first: bool,
    padding_value: float,
    total_length: int | None,
) -> tuple[Tensor, Tensor]:
    """Pad to the number of steps of the packed tensor, with torch's own function."""
    if total_length is None:
        total_length = getattr(sequence.batch_sizes, _STEPS, None)
    return original(sequence, batch_first, padding_value, total_length)
