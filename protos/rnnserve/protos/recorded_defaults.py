"""defaults.npz: values for omitted inputs, unless these are zeros or full lengths.

A typical example is a learned initial state. An array has the input's axes, with size 1 for dynamic axes, so every row
and every step has the same values.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.protos import manifest_pb2
from rnnserve.protos.array_archives import read_arrays
from rnnserve.protos.artifact import DEFAULTS, MANIFEST, ArtifactError
from rnnserve.protos.datatypes import DTYPES

__all__ = ["default_shape", "dump_defaults", "fill_left_out", "infinite_defaults", "load_defaults"]

_Array = npt.NDArray[Any]


def default_shape(tensor: manifest_pb2.Tensor) -> tuple[int, ...]:
    """Return the shape of an input's recorded default: (layers * directions, 1, hidden) for `h_0`."""
    return tuple(max(axis.size, 1) for axis in tensor.axes)


def dump_defaults(arrays: Mapping[str, _Array]) -> bytes:
    """Write defaults as an .npz file: the same arrays give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy")  # its date is 1980, always
            info.create_system = 3  # on every system
            archive.writestr(info, entry.getvalue())
    return buffer.getvalue()


def infinite_defaults(defaults: Mapping[str, _Array]) -> frozenset[str]:
    """Name the inputs with infinite defaults, such as a running maximum, which begins with -infinity."""
    return frozenset(name for name, array in defaults.items() if array.dtype.kind == "f" and np.isinf(array).any())


def load_defaults(files: Mapping[str, bytes], inputs: Sequence[manifest_pb2.Tensor]) -> dict[str, _Array]:
    """Read the defaults of all inputs with recorded defaults, by name.

    Args:
        files: Files of the version, by name.
        inputs: Inputs of the manifest.

    Raises:
        ArtifactError: If a default is missing, doesn't match its input's shape or datatype, or has invalid values.
    """
    recorded = [tensor for tensor in inputs if tensor.default == manifest_pb2.DEFAULT_RECORDED]
    if not recorded:
        return {}
    if DEFAULTS not in files:
        raise ArtifactError(f'{MANIFEST}: does not list {DEFAULTS}, which holds the default of "{recorded[0].name}"')
    try:
        found = dict(read_arrays(files[DEFAULTS]))
    except ValueError as error:
        raise ArtifactError(f"{DEFAULTS}: does not contain arrays: {error}") from error
    defaults = {}
    for tensor in recorded:
        array = found.get(tensor.name)
        if array is None:
            raise ArtifactError(f'{DEFAULTS}: has no default for "{tensor.name}"')
        shape, dtype = default_shape(tensor), DTYPES.get(tensor.datatype)
        if array.shape != shape or array.dtype != dtype:
            raise ArtifactError(
                f'{DEFAULTS}: "{tensor.name}" is {array.dtype} {list(array.shape)}, expected {dtype} {list(shape)}'
            )
        low, high = tensor.integers.low, tensor.integers.high
        if (array.dtype.kind == "f" and np.isnan(array).any()) or (
            tensor.HasField("integers") and not ((array >= low) & (array < high)).all()
        ):
            raise ArtifactError(f'{DEFAULTS}: "{tensor.name}" has a value outside the model\'s range')
        defaults[tensor.name] = array
    return defaults


def fill_left_out(
    inputs: Sequence[manifest_pb2.Tensor],
    arrays: Mapping[str, _Array],
    defaults: Mapping[str, _Array],
    sizes: Mapping[str, int],
) -> dict[str, _Array]:
    """Return all inputs by name, in order, with the manifest's defaults for missing arrays.

    Args:
        inputs: Inputs of the manifest.
        arrays: The given arrays.
        defaults: Result of `load_defaults`.
        sizes: Sizes of the dynamic axes.
    """
    filled: dict[str, _Array] = {}
    for tensor in inputs:
        shape = tuple(sizes[axis.name] if axis.size < 0 else axis.size for axis in tensor.axes)
        if tensor.name in arrays:
            filled[tensor.name] = arrays[tensor.name]
        elif tensor.name in defaults:
            filled[tensor.name] = np.broadcast_to(defaults[tensor.name], shape).copy()
        else:
            value = sizes[tensor.lengths_of] if tensor.lengths_of else 0
            filled[tensor.name] = np.full(shape, value, DTYPES[tensor.datatype])
    return filled
