"""The axes of a file's inputs, as far as the file and the user name them; and which of them may be the batch."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from rnnserve.export.adoption.roles import Roles
from rnnserve.export.errors import WrongArguments
from rnnserve.export.module_interface import Arrays
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Batches", "OpenInput", "check_frozen", "draw", "open_input"]

Batches = Mapping[str, int | None]
"""By tensor: the axis that is the batch; None for a new axis before the others."""

_STEPS = "sequence"
_NO_NAMES = re.compile(r"\?|-1|none|unk__\d+|(p2o\.)?dynamicdimension\.\d+", re.IGNORECASE)
"""What tf2onnx and paddle2onnx write for an axis of any size."""


@dataclasses.dataclass(frozen=True)
class OpenInput:
    """An input of a file.

    Attributes:
        name: Its name.
        dtype: The type of its elements.
        dims: By axis: a size, or a name; empty for a dynamic axis without one.
        settled: The axis that file or user call the batch; None for none.
        candidates: Axes that may be the batch where none is called so.
        integers: The lowest value, and one more than the highest; None where they are not known.
        is_lengths: Whether it holds lengths.
    """

    name: str
    dtype: np.dtype[Any]
    dims: tuple[int | str, ...]
    settled: int | None
    candidates: tuple[int, ...]
    integers: tuple[int, int] | None
    is_lengths: bool

    @property
    def is_number(self) -> bool:
        """Whether it has no axes."""
        return not self.dims

    def axis_names(self, batch: int | None) -> list[int | str]:
        """Give each axis a size or a name: those without one are named after what they most often are.

        Args:
            batch: The axis that is the batch; None for none of them.
        """
        names: list[int | str] = []
        unnamed = 0
        for at, dim in enumerate(self.dims):
            if at == batch:
                names.append(BATCH)
            elif dim == "":
                unnamed += 1
                names.append(_STEPS if unnamed == 1 else f"{_STEPS}_{unnamed}")
            else:
                names.append(dim)
        return names

    def shape(self, batch: int | None, rows: int, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Give its shape for a number of rows and sizes of the other dynamic axes."""
        of_axis = {**sizes, BATCH: rows}
        return tuple(of_axis[name] if isinstance(name, str) else name for name in self.axis_names(batch))


def check_frozen(name: str, at: int, size: int) -> None:
    """Refuse a batch that the file fixes at several rows.

    Raises:
        WrongArguments: If the user calls an axis the batch that always has another size than 1.
    """
    if size > 1:
        raise WrongArguments(
            f"--axis {name}.{at}={BATCH}: this axis is always {size}: the file was exported for one size of batch; "
            "export it again with the axis dynamic"
        )


def open_input(
    value: onnx.ValueInfoProto, roles: Roles, integers: tuple[int, int] | None, *, is_lengths: bool
) -> OpenInput:
    """Read an input's axes.

    Args:
        value: The input, of known shape and type.
        roles: Roles that the user gives.
        integers: The lowest value, and one more than the highest, where they are known.
        is_lengths: Whether it holds lengths.

    Raises:
        WrongArguments: If the user says that an axis of several rows is the batch.
    """
    kind = value.type.tensor_type
    dims: list[int | str] = []
    for at, dim in enumerate(kind.shape.dim):
        given = roles.axes.get((value.name, at), "")
        if dim.dim_value > 0:
            if given == BATCH:
                check_frozen(value.name, at, dim.dim_value)
            dims.append(dim.dim_value)  # a name of a fixed axis changes nothing here
        else:
            dims.append(given or _name_of(dim.dim_param))
    by_user = [at for at in range(len(dims)) if roles.axes.get((value.name, at)) == BATCH]
    called = by_user or [at for at, dim in enumerate(dims) if dim == BATCH]
    free = [at for at, dim in enumerate(dims) if (value.name, at) not in roles.axes and (dim == 1 or dim != BATCH)]
    candidates = [at for at in free if dims[at] == 1 or isinstance(dims[at], str)]
    return OpenInput(
        value.name,
        np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)),
        tuple(dims),
        called[0] if called else None,
        () if called else tuple(candidates),
        integers,
        is_lengths,
    )


def _name_of(written: str) -> str:
    if _NO_NAMES.fullmatch(written):
        return ""
    return BATCH if written.lower().startswith(BATCH) else written


def draw(
    inputs: Sequence[OpenInput], batches: Batches, rows: int, sizes: Mapping[str, int], random: np.random.Generator
) -> Arrays:
    """Draw a value for each input.

    Args:
        inputs: The inputs.
        batches: Axis of each input that is the batch.
        rows: Size of these.
        sizes: Sizes of the other dynamic axes, by name.
        random: Generator of the values.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    for each in inputs:
        shape = each.shape(batches[each.name], rows, sizes)
        array: npt.NDArray[Any]
        if each.is_lengths:
            array = np.full(shape, min(sizes.values(), default=1))
        elif each.dtype.kind in "iu":
            array = random.integers(*(each.integers or (0, 2)), size=shape)
        elif each.dtype.kind == "b":
            array = random.integers(0, 2, size=shape)
        else:
            array = random.uniform(-1, 1, size=shape)
        arrays[each.name] = array.astype(each.dtype)
    return arrays
