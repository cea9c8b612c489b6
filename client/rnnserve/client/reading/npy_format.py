"""numpy's `.npy` and `.npz`: arrays with all axes of an input, in the model's order, or with those of a single row."""

import io
import zipfile

import numpy as np

from rnnserve.client.errors import UnreadableInput
from rnnserve.client.metadata import ModelMetadata, TensorMetadata
from rnnserve.client.reading.named_rows import NamedRows, input_of_rows, named_input
from rnnserve.client.tensors import Array

__all__ = ["MAGIC", "NPZ_MAGIC", "read_arrays", "read_npy", "read_npz"]

MAGIC = b"\x93NUMPY"
NPZ_MAGIC = b"PK"


def read_npy(data: bytes, source: str, metadata: ModelMetadata) -> NamedRows:
    """Return the rows of a `.npy` file; all rows of one array have equal sizes.

    Raises:
        UnreadableInput: The content is not a `.npy` file, holds objects (pickles are never loaded) or no real numbers,
            or has other axes.
    """
    if not data.startswith(MAGIC):
        raise UnreadableInput(f"{source}: is not a .npy file. Expected a file that numpy.save wrote")
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, MemoryError) as error:  # a damaged header may state any size
        raise UnreadableInput(
            f"{source}: expected one array of numbers ({error}). For sequences of different lengths, use JSON or CSV"
        ) from error
    tensor = input_of_rows(metadata, source)
    return NamedRows.numbered({tensor.name: _rows(array, tensor, source)})


def read_npz(data: bytes, source: str, metadata: ModelMetadata) -> NamedRows:
    """Return the rows of a `.npz` file, which has an array for each input by its name.

    Raises:
        UnreadableInput: The content is not a `.npz` file, or an array is none of the model's inputs.
    """
    arrays = read_arrays(data, source)
    return NamedRows.numbered(
        {name: _rows(array, named_input(metadata, name, source), f"{source}, {name}") for name, array in arrays.items()}
    )


def read_arrays(data: bytes, source: str) -> dict[str, Array]:
    """Return the arrays of a `.npz` file by name.

    Raises:
        UnreadableInput: The content is not a `.npz` file, or holds objects (pickles are never loaded).
    """
    if not data.startswith(NPZ_MAGIC):
        raise UnreadableInput(f"{source}: is not a .npz file. Expected a file that numpy.savez wrote")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return dict(file.items())
    except (
        ValueError,
        MemoryError,
        KeyError,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        zipfile.error,
    ) as error:
        raise UnreadableInput(f"{source}: expected arrays of numbers ({error})") from error


def _rows(array: Array, tensor: TensorMetadata, source: str) -> list[Array]:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        found = f"dtype {array.dtype}" if isinstance(array, np.ndarray) else "no array"
        raise UnreadableInput(f"{source}: has {found}. Expected real numbers")
    row = [axis for axis, _ in tensor.row_axes]
    if array.ndim not in (len(row), len(row) + 1) or 0 in array.shape:
        raise UnreadableInput(
            f"{source}: has shape {array.shape}. Expected ({', '.join(row)}), or ({', '.join(tensor.axis_names)}), "
            "with no axis of size 0"
        )
    return [array] if array.ndim == len(row) else list(np.moveaxis(array, tensor.batch_axis or 0, 0))
