"""What stands for a `PackedSequence` in a captured module: the padded steps and their lengths.

Modules also take such a sequence apart, compute with its `data`, and make another one of the result. Here `data` is the
padded steps, one after the other (`packed_values`), and the other fields can be handed on to a new `PackedSequence`.
"""

from collections.abc import Iterator
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence import capture_session
from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.packed_values import DATA, FILL, PAD_FIRST

__all__ = ["PackedOrder", "PaddedSequence", "packed_fields", "set_after_lengths"]


class PaddedSequence(PackedSequence):
    """Stands for a `PackedSequence` in a captured module.

    Attributes:
        zero_padded: Whether `steps` is known to be zero after each row's length, as ONNX's results are.
        is_sorted: Whether rows were said to be sorted by length: eager has no `sorted_indices` then.
    """

    def __new__(cls, *args: Argument, **kwargs: Argument) -> "PaddedSequence":
        """Make it without the four fields of a `PackedSequence`, which are made when they are read."""
        del args, kwargs
        return tuple.__new__(cls, (None, None, None, None))

    def __init__(self, steps: Tensor, row_lengths: Tensor, *, zero_padded: bool, is_sorted: bool = False) -> None:
        self._held = (steps, row_lengths)
        self._versions = tuple(map(_version, self._held))
        self.zero_padded, self.is_sorted = zero_padded, is_sorted

    @property
    def steps(self) -> Tensor:
        """Values, (sequence, batch, …), padded, with rows in the order of the input.

        Raises:
            UnsupportedModule: If they have been written to since, as those of eager's sequence, a copy, have not.
        """
        return self._unwritten()[0]

    @property
    def row_lengths(self) -> Tensor:
        """Lengths, (batch,) int64.

        Raises:
            UnsupportedModule: As for `steps`.
        """
        return self._unwritten()[1]

    def _unwritten(self) -> tuple[Tensor, Tensor]:
        if tuple(map(_version, self._held)) != self._versions:
            raise UnsupportedModule(
                "the module writes into a tensor after pack_padded_sequence has taken it, or into what "
                "pad_packed_sequence has given, and then uses the packed sequence. Eager has a copy in it, an exported "
                "module the tensor itself. Write into another tensor: x = x * 2 instead of x.mul_(2), or x = x.clone() "
                "before."
            )
        return self._held

    @classmethod
    def of(cls, sequence: PackedSequence) -> "PaddedSequence | None":
        """Give what a packed sequence stands for; None if it was not packed within the module's forward.

        Raises:
            UnsupportedModule: If the module has made it of `batch_sizes` without the indices that belong to them.
        """
        if isinstance(sequence, PaddedSequence):
            return sequence
        data, *order = cast(tuple[Any, ...], sequence)
        return order[0].filled(data, *order[1:]) if isinstance(order[0], PackedOrder) else None

    def with_steps(self, steps: Tensor, *, zero_padded: bool) -> "PaddedSequence":
        """Give a sequence of other values, (sequence, batch, …), that is packed likewise."""
        return PaddedSequence(steps, self.row_lengths, zero_padded=zero_padded, is_sorted=self.is_sorted)

    def to(self, *args: Argument, **kwargs: Argument) -> "PaddedSequence":
        """Convert the values, as `PackedSequence.to` does."""
        return self.with_steps(self.steps.to(*args, **kwargs), zero_padded=self.zero_padded)

    def cpu(self, *args: Argument, **kwargs: Argument) -> "PaddedSequence":
        """Move the values, as `PackedSequence.cpu` does."""
        return self.with_steps(self.steps.cpu(*args, **kwargs), zero_padded=self.zero_padded)

    @property
    def is_cuda(self) -> bool:
        """Whether the values are on a CUDA device."""
        return self.steps.is_cuda

    @property
    def data(self) -> Tensor:
        """The values of all steps, (values, …): to be computed with one by one."""
        steps = self.steps
        if steps.dtype in (torch.int32, torch.int64):  # ids: what is padded need not be one that an embedding has
            steps = set_after_lengths(steps, self.row_lengths, 0)
        known: dict[str, Tensor] = capture_session.current().packed if capture_session.active() else {}
        sizes = str(steps.shape[:2])
        data: Tensor = DATA(steps, self.row_lengths, known.get(sizes))
        known.setdefault(sizes, data)
        return data

    @property
    def batch_sizes(self) -> "PackedOrder":  # type: ignore[override]  # a stand-in, as those below
        """Stand-in for it."""
        return PackedOrder("batch_sizes", self)

    @property
    def sorted_indices(self) -> "PackedOrder | None":  # type: ignore[override]
        """Stand-in for them; None where eager has none."""
        return None if self.is_sorted else PackedOrder("sorted_indices", self)

    @property
    def unsorted_indices(self) -> "PackedOrder | None":  # type: ignore[override]
        """Stand-in for them; None where eager has none."""
        return None if self.is_sorted else PackedOrder("unsorted_indices", self)

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self._fields)

    def __getitem__(self, key: Argument) -> Any:  # noqa: ANN401 - a field, or some of them
        return (*self,)[key]

    def _replace(self, **kwargs: Argument) -> PackedSequence:  # type: ignore[override]  # of any fields
        return PackedSequence._make(self)._replace(**kwargs)


class PackedOrder:
    """Stands for `batch_sizes`, `sorted_indices` or `unsorted_indices`: to be handed on, not to be read.

    Args:
        name: Name of the field.
        sequence: Packed sequence that it is a field of.
    """

    def __init__(self, name: str, sequence: PaddedSequence) -> None:
        self._name = name
        self._sequence = sequence

    def filled(self, data: Tensor, sorted_indices: Argument, unsorted_indices: Argument) -> PaddedSequence:
        """Give the sequence that a `PackedSequence` of other values with these `batch_sizes` stands for.

        Args:
            data: (values, …). `check_packed_values` looks at where they are from.
            sorted_indices: Stand-in that the module passes on, or None.
            unsorted_indices: Likewise.

        Raises:
            UnsupportedModule: If these are not those that belong to the `batch_sizes`.
        """
        packed, given = self._sequence, (self, sorted_indices, unsorted_indices)
        names = ("batch_sizes", "sorted_indices", "unsorted_indices")
        without = packed.is_sorted and sorted_indices is None and unsorted_indices is None
        if not without and not all(
            isinstance(each, PackedOrder) and each.is_of(name, packed) for each, name in zip(given, names, strict=True)
        ):
            raise UnsupportedModule(
                "the module makes a PackedSequence without the sorted_indices and unsorted_indices that belong to its "
                "batch_sizes, so that its rows come sorted by length, each in the place of another. Pass them on: "
                "PackedSequence(data, p.batch_sizes, p.sorted_indices, p.unsorted_indices), or p._replace(data=data)."
            )
        return packed.with_steps(FILL(data, packed.steps, packed.row_lengths), zero_padded=False)

    def is_of(self, name: str, packed: PaddedSequence) -> bool:
        """Whether it stands for the field `name` of a sequence, or of one that is packed by the same lengths."""
        return self._name == name and self._sequence.row_lengths is packed.row_lengths

    def inverse(self) -> "PackedOrder":
        """Give the stand-in for `unsorted_indices` beside those that are sorted."""
        return PackedOrder("unsorted_indices", self._sequence)

    def to(self, *args: Argument, **kwargs: Argument) -> "PackedOrder":
        """Move it, as `PackedSequence.to` does."""
        del args, kwargs
        return self

    @classmethod
    def __torch_function__(
        cls, func: Argument, types: Argument, args: Argument = (), kwargs: Argument = None
    ) -> NoReturn:
        del types
        given = torch.utils._pytree.tree_leaves((args, kwargs))  # noqa: SLF001
        order = next(each for each in given if isinstance(each, cls))
        cls._refuse(order, f"in {getattr(func, '__name__', func)}")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # a question of Python's, such as whether it can be copied
            raise AttributeError(name)
        self._refuse(f".{name}")

    def __getitem__(self, key: Argument) -> NoReturn:
        self._refuse(f"[{key!r}]")

    def __iter__(self) -> NoReturn:
        self._refuse("each of it")

    def __len__(self) -> NoReturn:
        self._refuse("its length")

    def __bool__(self) -> NoReturn:
        self._refuse("whether it is true")

    def __eq__(self, other: object) -> NoReturn:
        self._refuse("whether it equals something")

    __hash__ = None  # type: ignore[assignment]  # as where only __eq__ is defined

    def _refuse(self, what: str) -> NoReturn:
        raise UnsupportedModule(
            f"the module reads `{self._name}` of a PackedSequence, {what}. Packed values are sorted and ragged, which "
            f"ONNX has no form for: the field may only be handed on to another PackedSequence. {PAD_FIRST}"
        )


def packed_fields(
    data: Argument, batch_sizes: Argument = None, sorted_indices: Argument = None, unsorted_indices: Argument = None
) -> tuple[Argument, ...]:
    """Give the fields of a `PackedSequence` that the module makes, as PyTorch's own function does."""
    if batch_sizes is None:
        data, batch_sizes = data
    if unsorted_indices is None and isinstance(sorted_indices, PackedOrder):
        unsorted_indices = sorted_indices.inverse()
    return data, batch_sizes, sorted_indices, unsorted_indices


def _version(tensor: Tensor) -> int | None:
    """Count the writes to a tensor, and to those that it is a view of; None in inference mode, which does not."""
    return None if tensor.is_inference() else tensor._version  # noqa: SLF001 - torch's own


def set_after_lengths(steps: Tensor, lengths: Tensor, value: float) -> Tensor:
    """Set the padding of steps (sequence, batch, …) to a value. Lengths are (batch,) int64."""
    steps_so_far = torch.arange(steps.shape[0], device=steps.device)
    inside = steps_so_far.unsqueeze(1) < lengths.to(steps.device).unsqueeze(0)  # (sequence, batch)
    inside = inside.reshape(inside.shape + (1,) * (steps.dim() - 2))
    return torch.where(inside, steps, torch.full((), value, dtype=steps.dtype, device=steps.device))
